"""What a run shows: more or fewer lines on the terminal, and every line of ours in its log."""

import io
import logging
from pathlib import Path

import pytest

from understudy import progress
from understudy.cli import display

log = logging.getLogger("understudy.tests")


@pytest.mark.parametrize(
    ("level", "shown"),
    [(logging.WARNING, ["odd"]), (logging.INFO, ["usual", "odd"]), (logging.DEBUG, ["detail", "usual", "odd"])],
)
def test_the_terminal_shows_lines_from_a_level_on_and_the_log_every_line_of_note(
    level: int, shown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinks = list(progress.SINKS)
    with display.shown(tmp_path / "logs/run.log", level):
        log.debug("detail")
        log.info("usual")
        log.warning("odd")
    log.warning("after")
    assert capsys.readouterr().err.split() == shown
    assert [line.split()[-1] for line in (tmp_path / "logs/run.log").read_text().splitlines()][-2:] == ["usual", "odd"]
    assert sinks == progress.SINKS


def test_lines_of_prefect_are_in_the_log_with_their_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefect = logging.getLogger("prefect")
    with display.shown(tmp_path / "run.log") as add_prefect:
        add_prefect()
        prefect.warning("Finished", extra={"task_run_name": "gate-tea"})
    assert (tmp_path / "run.log").read_text().endswith("prefect: Finished [gate-tea]\n")
    assert "Finished" not in capsys.readouterr().err


def test_a_bar_is_shown_while_a_stage_is_long_and_one_line_when_it_is_done() -> None:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(record=True, width=80, file=io.StringIO())) as bars:
        sink = display.BarSink(bars, "starting")
        assert [(task.description, task.visible) for task in bars.tasks] == [("starting", True)]
        sink.open("train")
        sink.watch("train", Path("models"))
        sink.update("train", 1, 4, "loss 3.1")
        assert [(task.completed, task.total, task.visible) for task in bars.tasks] == [(1, 4, False)]
        sink.close("train", 61.0, failed=False)
        assert not bars.tasks and "train            done    61 s" in bars.console.export_text()
