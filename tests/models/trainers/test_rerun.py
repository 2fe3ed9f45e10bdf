"""Laws of the run record and of training again from it, on a real base of two layers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.trainers.conftest import LIMIT
from understudy import store, worker
from understudy.__main__ import main
from understudy.cli import rerun
from understudy.config import Config
from understudy.errors import AssetError, DatasetError, UnderstudyError
from understudy.graph import Graph
from understudy.records import AdapterCard, AssetRef, BaseCard, ChatExample, DatasetRefs, RunRecord
from understudy.runs import champion, lora_config, run_record, snapshots
from understudy.stages import tune as tuning
from understudy.trainers import merge
from understudy.workspace import Workspace

TRAINER = {
    "use": "mlx_lora", "rank": 4, "alpha": 12, "learning_rate": 3e-3, "epochs": 2, "max_seq_length": LIMIT,
    "dropout": 0.1, "sample_tokens": 0,
}  # fmt: skip
KEY = "sk-very-secret-0123456789"


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def preset(**changes: Any) -> Config:
    teacher = {"use": "openai", "model": "m", "api_key_env": "SOME_KEY", "base_url": "http://me:pass@127.0.0.1:9/v1"}
    known: dict[str, Any] = {
        "name": "talks",
        "source": {"use": "documents", "path": f"{Path.home()}/private/lectures"},
        "teacher": teacher,
        "base": "scratch",
        "trainer": TRAINER,
    }
    return Config.model_validate(known | changes)


def recorded(home: Path, tiny_base: Path, dataset: Path) -> RunRecord:
    """A home with a base, a dataset and one finished run; what its record says."""
    workspace = Workspace(home=home, config=preset())
    card = BaseCard(name="scratch", architecture="llama", parameters=1)

    def copy_base(out: Path) -> BaseCard:
        shutil.copytree(tiny_base, out, dirs_exist_ok=True)
        return card

    base = workspace.build("base", copy_base, "base", base="scratch-1")
    splits = {}
    for name in ("train", "valid", "test"):
        file = dataset / f"{name if name != 'test' else 'valid'}.jsonl"
        rows = [ChatExample.model_validate_json(line) for line in file.read_text().splitlines()]
        splits[name] = workspace.save(name, rows, "dataset")
    nothing = AssetRef(name="pairs", path="data/talks/dataset/pairs.parquet", rows=0, bytes=0, sha256="")
    refs = DatasetRefs(pairs=nothing, split=nothing, **splits)
    node = Graph(workspace, known=dict(refs) | {"base": base}).node("adapter")
    run = node.keys["run"]
    around = run_record.surroundings(["flows/main.py", "--home", str(home), "--set", f"teacher.x={KEY}"])

    def train(out: Path) -> AdapterCard:
        paths = (workspace.file(ref) for ref in (base, refs.train, refs.valid))
        return workspace.config.plugin("trainer").train(*paths, out, workspace.config.seed, silent)

    adapter = workspace.build("adapter", train, "adapter", run=run)
    record = run_record.written(workspace, around, node.fingerprint, base, refs, [], adapter)
    workspace.save("run", [record], "adapter", run=run)
    return record


@pytest.fixture(scope="module")
def first(tiny_base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    home = tmp_path_factory.mktemp("home")
    os.environ["SOME_KEY"] = KEY
    try:
        return home, recorded(home, tiny_base, dataset)
    finally:
        del os.environ["SOME_KEY"]


@pytest.fixture
def copy(first: tuple[Path, RunRecord], tmp_path: Path) -> tuple[Path, RunRecord]:
    shutil.copytree(first[0], tmp_path / "home")
    return tmp_path / "home", first[1]


def test_a_training_is_repeated_from_its_record_to_the_last_digit(
    copy: tuple[Path, RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    home, record = copy
    for number in (1, 2):
        assert main(["rerun", record.run, "--home", str(home)]) == 0
        output = capsys.readouterr().out
        assert "equal: " in output and "byte for byte" in output, output
        weights = home / f"models/talks/{record.run}-rerun-{number}/adapter/adapters.safetensors"
        assert weights.read_bytes() == (home / f"models/talks/{record.run}/adapter/adapters.safetensors").read_bytes()


def test_the_first_runs_folder_is_not_needed_and_a_folder_can_be_named(
    copy: tuple[Path, RunRecord], tmp_path: Path
) -> None:
    home, record = copy
    shutil.rmtree(home / f"models/talks/{record.run}/adapter")
    assert "equal: 2 losses" in rerun.rerun(home, record.run, "talks", tmp_path / "again")
    assert (tmp_path / "again" / "adapters.safetensors").is_file()
    with pytest.raises(AssetError, match="again already exists and is not an empty folder; choose another --out"):
        rerun.rerun(home, record.run, "talks", tmp_path / "again")


def test_a_run_is_repeated_on_its_own_rows_after_the_dataset_has_grown(
    copy: tuple[Path, RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    home, record = copy
    workspace = Workspace(home=home, config=preset())
    snapshots.keep(workspace, record.dataset)
    rows = workspace.rows(record.dataset.train)
    grown = workspace.save("train", [*rows, *rows[:3]], "grown")
    assert grown.sha256 != record.dataset.train.sha256 and not rerun.changed(home, record)
    assert main(["rerun", record.run, "--home", str(home)]) == 0
    assert "the same, byte for byte" in capsys.readouterr().out
    assert workspace.rows(grown) == [*rows, *rows[:3]], "the rows of today are as they were"


def test_a_rerun_that_was_killed_resumes_in_its_folder(copy: tuple[Path, RunRecord]) -> None:
    home, record = copy
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy", "--home", str(home), "rerun", record.run],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    partial = home / f"models/talks/{record.run}-rerun-1/.adapter.partial"
    until = time.monotonic() + 120
    while not (partial / "metrics.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "equal: " in rerun.rerun(home, record.run)
    assert sorted(f.name for f in (home / "models/talks").iterdir()) == [record.run, f"{record.run}-rerun-1"]


def test_neither_a_rerun_nor_the_link_to_the_champion_is_one_more_run(tmp_path: Path) -> None:
    for run in ("aaaaaaaa", "aaaaaaaa-rerun-1", "tune/bbbbbbbb"):
        (tmp_path / "talks" / run / "adapter").mkdir(parents=True)
    (tmp_path / "talks" / "aaaaaaaa" / "run.json").touch()
    champion.promote(tmp_path / "talks", "aaaaaaaa", [])
    with pytest.raises(AssetError, match="there are: talks/aaaaaaaa$"):
        rerun.find(tmp_path, "cccccccc")
    with pytest.raises(UnderstudyError, match="no run 'aaaaaaaa-rerun-1' of talks; there are: aaaaaaaa$"):
        champion.rollback(tmp_path / "talks", "aaaaaaaa-rerun-1")


def test_the_record_holds_what_was_used_and_not_whose_machine_it_was(first: tuple[Path, RunRecord]) -> None:
    home, record = first
    text = (home / f"models/talks/{record.run}/run.json").read_text()
    for hidden in (KEY, str(home), str(Path.home()), "me:pass", os.uname().nodename):
        assert hidden not in text, hidden
    assert "…/lectures" in text and "SOME_KEY" in text
    assert record.settings["trainer"]["gradient_accumulation_steps"] == 1, "defaults are filled in"
    assert record.packages["mlx"] and record.host.memory_bytes > 0 and record.python
    assert record.result == store.read_record(
        home, store.latest(home, f"models/talks/{record.run}/adapter/"), AdapterCard
    )


def test_the_stock_program_of_mlx_lm_trains_with_the_settings_of_a_run(copy: tuple[Path, RunRecord]) -> None:
    home, record = copy
    folder = home / f"models/talks/{record.run}"
    (folder / "lora.yaml").write_text(lora_config.text(record))
    subprocess.run(
        [sys.executable, "-m", "mlx_lm", "lora", "--config", str(folder / "lora.yaml"), "--iters", "2"],
        cwd=home,
        env=worker.environment() | {"MLX_DISABLE_COMPILE": "1", "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    settings = json.loads((folder / "mlx_lm" / "adapter_config.json").read_text())
    assert settings["lora_parameters"] == {"rank": 4, "scale": 3.0, "dropout": 0.1}
    assert settings["mask_prompt"] and settings["grad_accumulation_steps"] * settings["batch_size"] == 4
    ours, theirs = merge.deltas(folder / "adapter"), merge.deltas(folder / "mlx_lm")
    assert {name: gain.shape for name, gain in ours.items()} == {name: gain.shape for name, gain in theirs.items()}


def test_without_git_there_is_no_commit(tmp_path: Path) -> None:
    around = run_record.surroundings(["/usr/x/understudy"], root=tmp_path)
    assert (around.commit, around.dirty, around.command) == (None, None, "python …/understudy")


def test_a_checkout_is_named_by_its_commit_and_known_to_be_dirty(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = run_record.surroundings(["x"], root=tmp_path)
    (tmp_path / "new").touch()
    dirty = run_record.surroundings(["x"], root=tmp_path)
    assert clean.commit and len(clean.commit) == 40 and (clean.dirty, dirty.dirty) == (False, True)


def changed(home: Path, record: RunRecord, place: str) -> None:
    """Spoil one thing the run was made from."""
    if place == "train":
        file = home / record.dataset.train.path
        file.write_text(file.read_text().replace("burns", "turns"))
    elif place == "valid":
        (home / record.dataset.valid.path).unlink()
    else:
        with next((home / record.base.path).glob("*.safetensors")).open("r+b") as weights:
            weights.seek(-1, 2)
            weights.write(b"\x3f")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("train", "the train split has changed"),
        ("valid", "the valid split is gone"),
        ("base", "the base scratch has changed"),
    ],
)
def test_what_changed_since_is_named_and_nothing_is_trained(
    copy: tuple[Path, RunRecord], place: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home, record = copy
    changed(home, record, place)
    assert main(["--home", str(home), "rerun", record.run]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [f.name for f in (home / "models/talks").iterdir()] == [record.run]


def test_a_run_that_is_not_there_names_those_that_are(copy: tuple[Path, RunRecord]) -> None:
    home, record = copy
    with pytest.raises(AssetError, match=f"no record of a run 'abc' .*there are: talks/{record.run}"):
        rerun.rerun(home, "abc")
    with pytest.raises(AssetError, match="not a run's name"):
        rerun.rerun(home, "../talks")
    shutil.copytree(home / "models/talks", home / "models/other")
    with pytest.raises(AssetError, match="--channel: other, talks"):
        rerun.rerun(home, record.run)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 2, "news": 1}, "newer version .format 2, this one knows 1.: update"), ({"seed": "x"}, "not a record")],
)
def test_a_record_that_cannot_be_read_is_refused(
    copy: tuple[Path, RunRecord], change: dict[str, Any], message: str
) -> None:
    home, record = copy
    file = home / f"models/talks/{record.run}/run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(AssetError, match=message):
        rerun.rerun(home, record.run)
    file.write_text("{")
    with pytest.raises(AssetError, match="not a record of a run"):
        rerun.rerun(home, record.run)


def test_losses_that_differ_are_reported_with_their_place() -> None:
    rows = [{"iteration": i, "train_loss": 2.0, "valid_loss": None} for i in (1, 2)]
    rows.append({"iteration": 2, "train_loss": None, "valid_loss": 1.5})
    other = [row | {"valid_loss": 1.75} if row["valid_loss"] else row for row in rows]
    result = rerun.compare(rows, other[1:])
    assert (result.losses, result.largest, result.alone) == (2, 0.25, 1)
    assert "valid loss at iteration 2: 1.5000 then, 1.7500 now" in str(result) and "1 more" in str(result)


@pytest.mark.parametrize("learning_rate", [1e-3, 1e30])
def test_a_trial_ends_with_its_losses_or_with_why_it_has_none(
    tiny_base: Path, dataset: Path, tmp_path: Path, learning_rate: float
) -> None:
    config = preset(trainer=TRAINER | {"learning_rate": learning_rate})
    rows = (dataset / "train.jsonl", dataset / "valid.jsonl")
    card = tuning.trial(config.plugin("trainer"), learning_rate, 0.1, tiny_base, *rows, tmp_path, 5, silent)
    assert card.base_valid_loss == card.valid_losses[0][1]
    assert (card.dropped is None) == (learning_rate < 1) and (card.steps > 1) == (learning_rate < 1)
    assert str(tmp_path) not in (card.dropped or "") and not list(tmp_path.rglob("*.safetensors"))


def test_a_valid_set_without_a_scorable_row_chooses_nothing(
    tiny_base: Path, dataset: Path, tmp_path: Path, rows_file: Callable[[Path, list[str]], Path]
) -> None:
    valid, out = rows_file(tmp_path / "valid.jsonl", ["It burns. " * 400]), tmp_path / "out"
    trainer = preset().plugin("trainer")
    with pytest.raises(DatasetError, match="no row of the valid set is short enough"):
        tuning.trial(trainer, 1e-3, 0.1, tiny_base, dataset / "train.jsonl", valid, out, 5, silent)
