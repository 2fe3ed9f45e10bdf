"""
What stands around a flow that people and schedules start: bars in the UI, and a failure that begins with what to do.

The state message of a failed run is the first thing anybody reads of it, in the UI and in a notification.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect.logging import get_run_logger
from prefect.states import Failed
from understudy.tasks.live import ProgressArtifacts

from understudy import progress
from understudy.config import Config
from understudy.errors import Busy, ConfigError, UnderstudyError
from understudy.runs import local_teacher
from understudy.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")


def entry(work: Callable[P, R]) -> Callable[P, R]:
    """`work`, whose first parameters are `config` and `home`, with bars while it runs and a Failed state that tells.

    Callers still get the exception itself: Prefect raises what a Failed state carries.
    """

    @functools.wraps(work)
    def run(*arguments: P.args, **keywords: P.kwargs) -> Any:
        try:
            bound = inspect.signature(work).bind(*arguments, **keywords)
            with _bars(**_with_teacher(bound.arguments)):
                return work(*bound.args, **bound.kwargs)
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


def _with_teacher(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a flow with the teacher that its preset leaves open, chosen and noted."""
    config, home = arguments.get("config"), arguments.get("home")
    if isinstance(config, Config) and home is not None:
        arguments["config"] = local_teacher.chosen(Workspace(home=Path(home).resolve(), config=config)).config
    return arguments


@contextmanager
def _bars(config: Config | None = None, home: Path | None = None, **_: Any) -> Iterator[None]:
    """Progress artifacts, unless somebody shows them already."""
    if config is None or home is None or any(isinstance(sink, ProgressArtifacts) for sink in progress.SINKS):
        yield
        return
    bars = ProgressArtifacts(Workspace(home=home.resolve(), config=config))
    progress.SINKS.append(bars)
    try:
        yield
    finally:
        progress.SINKS.remove(bars)
