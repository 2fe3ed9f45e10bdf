"""Which runs are meant by `compare` and `compare-runs`, and what is said of those that cannot be compared."""

import json
from pathlib import Path

import pytest

from tests.unit.report.test_page import answers, card, pairs
from understudy import store
from understudy.__main__ import main
from understudy.cli import compare
from understudy.records import Leakage, SplitPlan
from understudy.scoring import preferences
from understudy.web.compare import Choice, Sitting

RUN = "models/candles/r1"


def run(home: Path, count: int = 6, texts: tuple[str | None, str | None] = ("old", "new"), **fields: object) -> Path:
    """A scored run with its dataset and a report."""
    listed = [pair.model_copy(update={"document_id": pair.pair_id}) for pair in pairs(count=count)]
    names = [pair.pair_id for pair in listed]
    plan = SplitPlan(
        splits={"train": [], "valid": [], "test": names},
        documents={"train": [], "valid": [], "test": names},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )
    data = "data/candles/dataset"
    for name, path, rows in (("pairs", f"{data}/pairs.parquet", listed), ("split", f"{data}/split.json", [plan])):
        content, number = store.encode(path, rows)
        store.write_file(home, name, path, content, number, "1")
    test = store.write_file(home, "test", f"{data}/test.jsonl", b"{}\n", 1, "1")
    for name, text in zip(("base", "adapter"), texts, strict=True):
        samples = [one.model_copy(update={"text": text}) for one in answers("")[:count]]
        content, number = store.encode("x.jsonl", samples)
        store.write_file(home, "samples", f"{RUN}/samples/{name}.jsonl", content, number, "1")
    finite = [one.model_copy(update={"metrics": {}}) for one in card().candidates]
    score = card().model_copy(update={"candidates": finite, "test_sha256": test.sha256} | fields)
    content, number = store.encode("scorecard.json", [score])
    store.write_file(home, "scorecard", f"{RUN}/scorecard.json", content, number, "1")
    store.write_file(home, "report", f"{RUN}/report.html", b"old", 1, "fingerprint")
    (home / RUN / "adapter").mkdir()
    return home / RUN


@pytest.mark.parametrize("named", ["candles/r1", "r1"])
@pytest.mark.parametrize("count", [1, 6])
def test_stored_answers_are_compared_and_the_result_is_on_the_report(tmp_path: Path, named: str, count: int) -> None:
    folder = run(tmp_path, count)
    meant = compare._run(tmp_path, named, 20)
    sitting = Sitting(
        folder, meant.duels, meant.tuned, meant.base, ended=lambda: compare.refresh(tmp_path, "candles", "r1")
    )
    while (view := sitting.show()).result is None:
        sitting.choose(Choice(pair_id=view.pair_id or "", chosen="tie"))
    assert view.total == count and len(preferences.load(folder)) == count
    assert "A person, blind" in (folder / "report.html").read_text()
    path = f"{RUN}/report.html"
    assert store.fresh(tmp_path, path, "fingerprint") == store.latest(tmp_path, path)


def error_of(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["--home", str(home), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_compared_is_told_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    assert "no model of 'nope'" in error_of(tmp_path, capsys, "compare", "nope")
    assert "at least 1 pair" in error_of(tmp_path, capsys, "compare", "r1", "--pairs", "0")
    assert "name two GGUF files" in error_of(tmp_path, capsys, "compare", "a.gguf")
    assert "3 models are given" in error_of(tmp_path, capsys, "compare", "a", "b", "c")
    store.write_file(tmp_path, "test", "data/candles/dataset/test.jsonl", b"other", 1, "2")
    assert "is not the one r1 was scored on" in error_of(tmp_path, capsys, "compare", "r1")


def test_a_run_that_said_nothing_needs_its_record_to_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, texts=(None, None))
    assert "run.json cannot be read (No such file or directory)" in error_of(tmp_path, capsys, "compare", "r1")


def test_equal_answers_leave_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, texts=("same", "same"))
    assert "there is nothing to compare" in error_of(tmp_path, capsys, "compare", "r1")


def test_two_runs_stand_side_by_side_as_text_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    other = tmp_path / "other.json"
    other.write_text((tmp_path / RUN / "scorecard.json").read_text().replace('"r1"', '"r2"'))
    both = ["--home", str(tmp_path), "compare-runs", "r1", str(other)]
    assert main(both) == 0 and "| tuned minus base | r1 | r2 |" in capsys.readouterr().out
    assert main([*both, "--json"]) == 0 and json.loads(capsys.readouterr().out)["first"] == "r1"
    page = tmp_path / "page.html"
    assert main([*both, "--html", str(page)]) == 0 and "<h1>r1 beside r2</h1>" in page.read_text()


def test_runs_on_other_rows_and_older_or_newer_scorecards_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    other = tmp_path / "other.json"
    other.write_text(card().model_copy(update={"candidates": []}).model_dump_json())
    assert "only runs on the same rows compare" in error_of(tmp_path, capsys, "compare-runs", "r1", str(other))
    other.write_text(card().model_dump_json().replace('"version":1', '"version":99'))
    assert "format 99, this program reads up to" in error_of(tmp_path, capsys, "compare-runs", "r1", str(other))
