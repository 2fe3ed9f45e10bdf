"""`understudy clean`: only what can be made again goes, and only of old runs that nothing depends on."""

import json
import os
from pathlib import Path

import pytest

from understudy import store
from understudy.__main__ import main
from understudy.records import Record
from understudy.runs import champion, clean

RUNS = [f"{number}a" for number in range(6)]


class Card(Record):
    """A card of a folder, whatever is in it."""


def run(models: Path, name: str, day: int) -> Path:
    """A run with everything heavy that a run can have."""
    folder = models / name
    for inside in ("fused/model.safetensors", "gguf/tea-Q8_0.gguf", "gguf/.tea-Q8_0.gguf.manifest.json",
                   ".fused.partial/model.safetensors", "scorecard.json", "report.html"):  # fmt: skip
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).write_bytes(b"x" * 1000)
    (folder / "run.json").write_text(json.dumps({"began": f"2026-01-{day:02}T03:00:00+00:00"}))

    def make(out: Path) -> Record:
        (out / "last").mkdir()
        (out / "last/resume.safetensors").write_bytes(b"y" * 1000)
        (out / "adapters.safetensors").write_bytes(b"z" * 10)
        return Card()

    store.build_folder(models.parents[1], "adapter", f"models/{models.name}/{name}/adapter/", make, "print")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Six runs of a channel, the second one published, the third one champion after the first one."""
    models = tmp_path / "models/tea"
    for day, name in enumerate(RUNS, 1):
        run(models, name, day)
    clean.mark_published(models / "1a", "https://huggingface.co/x/y")
    for name in ("0a", "2a"):
        champion.promote(models, name, ["better"])
    (tmp_path / "models/bases/scratch").mkdir(parents=True)
    return tmp_path


def whole(home: Path) -> set[str]:
    return {folder.name for folder in (home / "models/tea").glob("*a") if (folder / "fused").exists()}


def test_newest_published_and_the_last_two_champions_stay_whole(home: Path) -> None:
    assert main(["clean", "--keep", "1", "--yes", "--home", str(home)]) == 0
    assert whole(home) == {"0a", "1a", "2a", "5a"}
    left = {f.relative_to(home / "models/tea/3a").as_posix() for f in (home / "models/tea/3a").rglob("*")}
    assert left == {"run.json", "scorecard.json", "report.html", "adapter", "adapter/card.json",
                    "adapter/adapters.safetensors", "adapter/.manifest.json"}  # fmt: skip
    assert main(["rollback", "tea", "--home", str(home)]) == 0 and (home / "models/tea/champion/gguf").is_dir()


def test_an_adapter_without_its_checkpoints_is_not_trained_again(home: Path) -> None:
    path = "models/tea/3a/adapter/"
    before = store.fresh(home, path, "print")
    assert main(["clean", "tea", "--keep", "0", "--yes", "--home", str(home)]) == 0
    assert before and store.fresh(home, path, "print") == before


def test_the_order_is_that_of_the_trainings_not_of_the_files(home: Path) -> None:
    os.utime(home / "models/tea/3a/adapter")
    assert [item.run.name for item in clean.old_files(home / "models/tea", 1)] == ["4a", "3a"]


def test_a_dry_run_and_a_question_without_an_answer_delete_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", "--keep", "1", "--dry-run", "--json", "--home", str(home)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data["bytes"]) == {"tea/3a", "tea/4a"} and data["deleted"] is False
    assert set(data["bytes"].values()) == {5000}
    assert main(["clean", "--keep", "1", "--home", str(home)]) == 2
    assert "--yes" in capsys.readouterr().err and len(whole(home)) == 6


def test_what_cannot_be_cleaned_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["coffee"], ["../tea"], ["bases"], ["--keep", "-1"]):
        assert main(["clean", *words, "--yes", "--home", str(home)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(whole(home)) == 6


def test_a_link_is_not_followed(home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (home / "models/tea/3a/checkpoints").symlink_to(outside)
    (home / "models/tea/3a/gguf/link").symlink_to(outside)
    assert main(["clean", "--keep", "0", "--yes", "--home", str(home)]) == 0
    assert (outside / "precious").exists() and not (home / "models/tea/3a/gguf").exists()


def test_rows_kept_for_a_run_go_with_the_last_run_on_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for digest in ("a" * 16, "b" * 16):
        kept = home / f"data/tea/dataset@{digest}/train.jsonl"
        kept.parent.mkdir(parents=True)
        kept.write_text("{}\n")
    record = json.loads((home / "models/tea/5a/run.json").read_bytes())
    (home / "models/tea/5a/run.json").write_text(json.dumps(record | {"dataset_fingerprint": "a" * 64}))
    assert main(["clean", "tea", "--keep", "9", "--yes", "--home", str(home)]) == 0
    assert "dataset@bbbb" in capsys.readouterr().out
    assert [folder.name for folder in (home / "data/tea").glob("dataset@*")] == [f"dataset@{'a' * 16}"]
