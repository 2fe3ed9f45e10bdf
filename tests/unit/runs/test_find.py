"""Laws of which file is meant: the champion first, small before large, and nothing refused unless insisted on."""

import os
from pathlib import Path

import pytest

from tests.models.exporters.gguf_models import make_model, silent
from understudy.errors import ExportError, UnderstudyError
from understudy.exporters.gguf_convert import convert
from understudy.records import ParityCheck, ParityReport
from understudy.runs import champion, find


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a real GGUF file."""
    folder = tmp_path_factory.mktemp("using")
    convert(make_model(folder / "model"), folder / "m.gguf", None, silent)
    return (folder / "m.gguf").read_bytes()


def add(models: Path, run: str, types: tuple[str, ...], content: bytes, age: int) -> Path:
    """A run whose files grow from type to type."""
    folder = models / "candles" / run / "gguf"
    folder.mkdir(parents=True)
    for more, kind in enumerate(types):
        file = folder / f"candles-{kind}.gguf"
        file.write_bytes(content + b"\0" * more)
        os.utime(file, (10_000 - age, 10_000 - age))
    os.utime(folder, (10_000 - age, 10_000 - age))
    return folder.parent


def refuse(run: Path, *types: str) -> None:
    parity = [ParityCheck(name=kind, reference="F16", bytes=1, refused=f"{kind} differs") for kind in types]
    report = ParityReport(channel="candles", run=run.name, checks=parity, recommended=None)
    (run / "parity.json").write_text(report.model_dump_json())


@pytest.fixture
def models(tmp_path: Path, whole: bytes) -> Path:
    folder = tmp_path / "models"
    add(folder, "old", ("Q4_K_M", "Q8_0", "F16"), whole, 100)
    new = add(folder, "new", ("Q4_K_M", "Q8_0", "F16"), whole, 0)
    (new / "gguf" / "candles-adapter.gguf").write_bytes(b"GGUF")
    (new / "gguf" / ".candles-Q2_K.gguf").write_bytes(b"GGUF")
    (folder / "bases" / "scratch").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("model", [None, "candles", "candles/new", "new"])
def test_the_smallest_file_of_the_newest_run_is_meant(models: Path, model: str | None) -> None:
    assert find.gguf(models, model) == models / "candles/new/gguf/candles-Q4_K_M.gguf"


def test_the_champion_comes_before_the_newest_run(models: Path) -> None:
    champion.promote(models / "candles", "old", [])
    for model in (None, "candles", "candles/champion", "candles/old"):
        assert find.gguf(models, model) == models / "candles/old/gguf/candles-Q4_K_M.gguf"
    assert find.gguf(models, "candles/new").parents[1].name == "new"


def test_a_refused_file_is_given_only_to_whoever_insists(models: Path) -> None:
    run = models / "candles" / "new"
    refuse(run, "Q4_K_M")
    assert find.gguf(models, "candles").name == "candles-Q8_0.gguf"
    named = str(run / "gguf" / "candles-Q4_K_M.gguf")
    with pytest.raises(UnderstudyError, match="Q4_K_M differs.*--force"):
        find.gguf(models, named)
    assert find.gguf(models, named, force=True) == Path(named)
    refuse(run, "Q4_K_M", "Q8_0", "F16")
    with pytest.raises(UnderstudyError, match="every file of candles/new was refused.*Q8_0 differs.*--force"):
        find.gguf(models, "candles")
    assert find.gguf(models, "candles", force=True).name == "candles-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("candels", "no model of 'candels'.*candles"),
        ("candles/nope", "no run 'nope' of candles; there are: new, old"),
        ("candles/champion", "candles has no champion"),
        ("../candles", "no model of '..'"),
        ("bases", "no model of 'bases'"),
        ("gone.gguf", "no file gone.gguf"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(models: Path, model: str, words: str) -> None:
    with pytest.raises(UnderstudyError, match=words):
        find.gguf(models, model)


def test_without_any_model_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match=r"no model under .*yet.*understudy run"):
        find.gguf(tmp_path, None)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_file_cut_short_is_told_in_one_sentence(tmp_path: Path, whole: bytes, share: float) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises((ExportError, UnderstudyError), match=r"cut\.gguf") as error:
        find.gguf(tmp_path, str(file))
    assert "\n" not in str(error.value)
