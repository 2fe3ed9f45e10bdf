"""
What stands around a flow that people and schedules start: its name, its parameters, bars, and how its state reads.

The message of a run's state is the first thing anybody reads of it, in the UI and in a notification: a run that went
well says how it ended, and a failed one begins with what to do.
"""

import functools
import inspect
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from prefect.exceptions import Abort
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Completed, Failed
from understudy.tasks import limits, live
from understudy.tasks.live import ProgressArtifacts

from understudy import locks, progress
from understudy.config import Config
from understudy.errors import Busy, ConfigError, UnderstudyError
from understudy.runs import local_teacher, local_trainer
from understudy.runs.changes import Changes
from understudy.workspace import Workspace

P = ParamSpec("P")


class Result(Protocol):
    """What a flow returns."""

    @property
    def summary(self) -> str:
        """How it ended, in a sentence."""


R = TypeVar("R", bound=Result)


class NotNow(Busy, Abort):
    """Busy, and no failure: a worker's process that ends with it is logged in one line, without a traceback."""


def run_name() -> str:
    """'tea pipeline dataset 2026-11-30 03:00': channel, flow, part and time tell the runs of the list apart."""
    parameters = flow_run.parameters
    workspace = parameters.get("workspace") or Workspace(home=parameters["home"], config=parameters["config"])
    channel, change = workspace.config.name, parameters.get("change")
    if isinstance(change, Changes):
        with suppress(ConfigError):  # the run itself says what is wrong
            channel = change.settings(workspace.home).get("name", channel)
    words = (channel, flow_run.flow_name, parameters.get("only"), time.strftime("%Y-%m-%d %H:%M"))
    return " ".join(word for word in words if word)


def entry(work: Callable[P, R]) -> Callable[P, R]:
    """`work`, with the parameters `config`, `home` and `change`, and a state that says how it ended.

    Callers still get what it returns and raises: Prefect hands on what a state carries.
    """

    @functools.wraps(work)
    def run(*arguments: P.args, **keywords: P.kwargs) -> Any:
        try:
            bound = inspect.signature(work).bind(*arguments, **keywords)
            with _seen_alive(), _awake(), _shown(**_settled(bound.arguments)):
                result = work(*bound.args, **bound.kwargs)
            return Completed(message=result.summary, data=result)
        except Busy as error:
            return Cancelled(name="Busy", message=what_to_do(error), data=NotNow(str(error)))
        except Exception as error:
            get_run_logger().error("What follows is where it failed.", exc_info=True)
            return Failed(message=what_to_do(error), data=error)

    return run


def what_to_do(error: Exception) -> str:
    """The sentence a failed run begins with: what to do, then what was wrong."""
    if isinstance(error, ConfigError):
        first, *others = [problem.rstrip(".") for problem in error.problems]
        rest = "".join(f"\n- {problem}" for problem in others)
        return f"Correct the parameters and run it again: {first}." + (f" And:{rest}" if rest else "")
    if isinstance(error, Busy):
        return f"Wait, then run it again: {error}."
    if isinstance(error, UnderstudyError):
        return f"Run it again once this is put right, finished work is kept: {type(error).__name__}: {error}"
    return (
        "Run it again, finished work is kept; when it fails the same way, this is a bug to report: "
        f"{type(error).__name__}: {error}"
    )


def _settled(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a flow with its changes applied, and what its preset leaves to the machine chosen."""
    config, home, change = (arguments.get(name) for name in ("config", "home", "change"))
    if isinstance(config, Config) and home is not None:
        config = change.applied(config, Path(home)) if isinstance(change, Changes) else config
        workspace = Workspace(home=Path(home).resolve(), config=config)
        arguments["config"] = local_trainer.chosen(local_teacher.chosen(workspace)).config
    return arguments


@contextmanager
def _seen_alive() -> Iterator[None]:
    """While the block works, `deployments/watch.py` sees that this run lives, though its machine slept."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.working(str(flow_run.id)) if flow_run.id else nullcontext())
        except OSError as error:
            get_run_logger().debug("nobody sees whether this run lives: %s", error)
        if limits.kept_by_a_server() and flow_run.id and not deployment.id:
            get_run_logger().info("This run was started in a terminal: Ctrl-C stops it there, Cancel here does not.")
        yield


@contextmanager
def _awake() -> Iterator[None]:
    """On macOS the machine does not go to sleep by itself while the block works, however this process ends."""
    program = shutil.which("caffeinate") if sys.platform == "darwin" else None
    process = subprocess.Popen([program, "-is", "-w", str(os.getpid())]) if program else None
    try:
        yield
    finally:
        if process:
            process.terminate()


@contextmanager
def _shown(config: Config | None = None, home: Path | None = None, **_: Any) -> Iterator[None]:
    """Progress and a timeline as artifacts, unless somebody shows them already."""
    if config is None or home is None or any(isinstance(sink, ProgressArtifacts) for sink in progress.SINKS):
        yield
        return
    bars = ProgressArtifacts(Workspace(home=home.resolve(), config=config))
    progress.SINKS.append(bars)
    try:
        with live.timeline(bars.workspace):
            yield
    finally:
        progress.SINKS.remove(bars)
