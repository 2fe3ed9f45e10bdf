"""Two runs side by side, only where they answered the same questions."""

from pathlib import Path

import pytest

from tests.unit.report.test_page import card
from understudy.errors import AssetError
from understudy.records import SCORECARD_VERSION
from understudy.report.compare_runs import compare_runs, markdown
from understudy.report.evidence import read_scorecard


def test_every_number_of_either_run_has_a_line() -> None:
    first = card()
    second = first.model_copy(
        update={
            "run": "r2",
            "differences": {"copied": first.differences["well_formatted"]},
            "version": SCORECARD_VERSION,
        }
    )
    comparison = compare_runs(first, second)
    assert {line.name for line in comparison.lines} == {*first.differences, "copied"}
    line = next(line for line in comparison.lines if line.name == "nll_per_token")
    assert (line.first, line.second) == (first.differences["nll_per_token"], None)
    assert len(comparison.tuned) == 3 and any("format 1, r2 2" in note for note in comparison.notes)
    text = markdown(comparison)
    assert "own metric" not in text and "more numbers are on the page: --html" in text  # it has no verdict
    assert "| tuned minus base | r1 | r2 |" in text and "−1.000 nats per token (−1.200 to −0.800), **better**" in text


def test_runs_on_other_rows_do_not_compare() -> None:
    with pytest.raises(AssetError, match="candles/r1 was scored on the held-out rows abababababab .*cdcdcdcdcdcd"):
        compare_runs(card(), card().model_copy(update={"run": "r2", "test_sha256": "cd" * 32}))


def test_a_run_is_not_compared_with_itself() -> None:
    with pytest.raises(AssetError, match="both are the scorecard of candles/r1"):
        compare_runs(card(), card())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("[]", "no scorecard this program can read"),
        ('{"version": 99}', "format 99, this program reads up to 2"),
        ('{"channel": "a"}', "no scorecard this program can read"),
    ],
)
def test_a_file_that_is_no_scorecard_is_refused_in_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "scorecard.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(AssetError, match=message) as error:
        read_scorecard(file)
    assert "\n" not in str(error.value)


def test_a_scorecard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "scorecard.json"
    written = card().model_copy(update={"candidates": []})
    file.write_text(written.model_dump_json())
    assert read_scorecard(file) == written
