"""What a person sees while a run works: live bars in a terminal, plain lines elsewhere; and the result of a part."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from understudy import progress
from understudy.text.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

SHOWN_AFTER_SECONDS = 2.0


class BarSink(progress.Sink):
    """A live bar per stage that runs for over two seconds, with counts, the time so far and the time left.

    Before the first stage, and while one has counted nothing yet, a bar runs to and fro: work goes on.
    """

    def __init__(self, bars: "Bars", first: str = "starting") -> None:
        self.bars = bars
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._first: TaskID | None = bars.add_task(first, total=None, note="")

    def open(self, stage: str) -> None:
        """Prepare the bar of `stage`."""
        with self._lock:
            if self._first is not None:
                self.bars.remove_task(self._first)
                self._first = None
            self._task(stage)

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """Start or move the bar of `stage`."""
        with self._lock:
            self.bars.update(self._task(stage), completed=done, total=total, note=note)
        self.beat()

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        """Replace the bar by one line."""
        with self._lock:
            task = self._tasks.pop(stage, None)
            if task is not None:
                self.bars.remove_task(task)
        if seconds >= SHOWN_AFTER_SECONDS or failed:
            stopped = "[yellow]stopped[/]" if progress.STOPPING.is_set() else "[red]failed[/]"
            mark = stopped if failed else "[green]done[/]"
            self.bars.console.print(f"{stage:<16} {mark} [dim]{seconds:5.0f} s[/]", highlight=False)

    def beat(self) -> None:
        """Show the bars that are old enough."""
        with self._lock:
            for task in self.bars.tasks:
                if (task.elapsed or 0) >= SHOWN_AFTER_SECONDS and not task.visible:
                    self.bars.update(task.id, visible=True)

    def _task(self, stage: str) -> "TaskID":
        if stage not in self._tasks:
            self._tasks[stage] = self.bars.add_task(stage, total=None, note="", visible=False)
        return self._tasks[stage]


class _Terminal(logging.StreamHandler[TextIO]):
    """Lines on stderr, each of which the sink hears of, so that it adds none of its own soon after."""

    def __init__(self, sink: progress.LogSink) -> None:
        super().__init__(sys.stderr)
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self.sink.shown()


class _Lines(logging.Formatter):
    """A formatter that adds the name of the run to Prefect's lines."""

    def format(self, record: logging.LogRecord) -> str:
        run = getattr(record, "task_run_name", None) or getattr(record, "flow_run_name", None)
        return super().format(record) + (f" [{run}]" if run else "")


@contextmanager
def shown(log_file: Path, level: int = logging.INFO, first: str = "starting") -> Iterator[Callable[[], None]]:
    """Show progress and log lines from `level` on while the block runs; every line also goes to `log_file`.

    `first` is what is going on until the first stage begins.

    Prefect removes every handler from its loggers when it is imported: the block then calls the function it was given,
    so that Prefect's lines go to the file too, and with DEBUG to the terminal.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(log_file, encoding="utf-8")
    to_file.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logger, prefect = logging.getLogger("understudy"), logging.getLogger("prefect")
    logger.setLevel(logging.DEBUG)
    with ExitStack() as stack:
        sink: BarSink | progress.LogSink
        terminal: logging.Handler
        if sys.stderr.isatty() and level < logging.WARNING:
            bars, terminal = stack.enter_context(_bars())
            sink = BarSink(bars, first)
        else:
            sink = progress.LogSink(first=first)
            terminal = _Terminal(sink)
            terminal.setFormatter(_Lines("%(message)s"))
        terminal.setLevel(level)
        progress.SINKS.append(sink)
        stack.callback(progress.SINKS.remove, sink)
        stack.enter_context(_beating(sink.beat))
        for handler in (to_file, terminal):
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)
            stack.callback(prefect.removeHandler, handler)

        def add_prefect() -> None:
            prefect.addHandler(to_file)
            if level <= logging.DEBUG:
                prefect.addHandler(terminal)

        yield add_prefect


def of_part(channel: str, unit: str, counts: Mapping[str, Any], files: Mapping[str, str] | None, dataset: Path) -> str:
    """The result of a run of one part: the dataset in numbers, and the paths of dataset and files.

    `unit` is what pairs are of, as a noun: a talk, a text, a section.
    """
    rows = {side: counts[side] for side in ("train", "valid", "test")}
    left_out = counts["pairs"] - sum(rows.values())
    states = ", ".join(f"{count} {state}" for state, count in counts["talks"].items())
    lines = [
        f"{channel}: {counted(counts['pairs'], 'pair')} of {unit}s ({states}); "
        + ", ".join(f"{count} {side}" for side, count in rows.items())
        + (f", {left_out} left out" if left_out else ""),
        f"  dataset  {dataset / 'README.md'}",
    ]
    return "\n".join(lines + [f"  {kind:8} {file}" for kind, file in (files or {}).items()])


@contextmanager
def _beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` once a second inside the block."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(1.0):
            beat()

    thread = threading.Thread(target=go_on, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2.0)


@contextmanager
def _bars() -> Iterator[tuple["Bars", logging.Handler]]:
    from rich.console import Console
    from rich.logging import RichHandler
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield bars, RichHandler(console=console, show_time=False, show_path=False, show_level=False, markup=False)
