"""
One process of a run: what flows and tasks do with a channel, in simulated threads in place of Prefect's.

Prefect only calls these functions and waits for them; its own threads, retries and database are not simulated.
"""

import json
import os
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn

from understudy.tasks import policies
from understudy.tasks import talks as reading

from tests.fixtures.teacher_faults import Plan
from tests.simulation.disk import SimulatedDisk
from tests.simulation.provider import Provider
from tests.simulation.world import SimulatedClock, World
from understudy import locks, registry
from understudy.channel import forgetting
from understudy.channel.ledger import Ledger
from understudy.config import Config, changed, load
from understudy.errors import DatasetError, UnderstudyError
from understudy.graph import Graph, materialize
from understudy.records import Entry
from understudy.runs import teachers
from understudy.teachers.openai import OpenAITeacher
from understudy.workspace import Workspace

PRESET = Path(__file__).resolve().parents[2] / "deployments/presets/documents.yaml"
PRICE = {"input": 0.25, "output": 2.0}
WORKERS, QUESTIONS = 3, 3
SHORT = {"words": 60, "chunks": 5}
"""Of replies: a history is about their order, not their length."""
CHANNEL = "tea"


class SimulatedTeacher(OpenAITeacher):
    """The teacher of an API, whose clock and network are those of the world."""


registry.PLUGINS["teacher"]["simulated"] = f"{__name__}:SimulatedTeacher"


class Setup(NamedTuple):
    """All that is drawn for one process."""

    seed: int
    number: int
    folder: Path
    """`home`, `talks`, and what the world remembers."""
    now: float
    plan: Plan
    max_usd: float = 5.0
    crash_at: int | None = None
    power_cut: bool = False
    fails_at: int | None = None
    fails_with: int = 0
    outages: tuple[tuple[float, float], ...] = ()
    jump: tuple[float, float] = (0.0, 0.0)
    forget: str = ""
    undisturbed: bool = False
    """One after which all work is done."""
    traced: bool = False


def config_of(setup: Setup) -> Config:
    """A small preset; what it costs is what the loopback teacher bills."""
    teacher = {
        "use": "simulated", "model": "gpt-5-mini", "base_url": "http://127.0.0.1:9/v1", "price": PRICE,
        "max_usd": setup.max_usd, "concurrency": 3,
    }  # fmt: skip
    return changed(_preset(), {"source": {"use": "documents", "path": str(setup.folder / "talks")}, "teacher": teacher})


@lru_cache(maxsize=1)
def _preset() -> Config:
    changes = {"name": CHANNEL, "gates": [{"use": "length", "min_words": 20}]}
    return load(PRESET, changes | {"questions": {"at_most": QUESTIONS, "seconds_per_question": 20}})


def live(setup: Setup) -> NoReturn:
    """Run, report and end this process, which may be killed at any step."""
    world = World(Random(f"{setup.seed}/{setup.number}"), setup.now, setup.jump)
    provider = Provider(world, setup.plan, list(setup.outages), setup.folder / "provider")
    disk = SimulatedDisk(
        world, Random(f"{setup.seed}/{setup.number}/disk"), setup.folder / f"lost-{setup.number}",
        setup.fails_at, setup.fails_with,
    )  # fmt: skip
    lines: list[str] = []

    def trace(line: str) -> None:
        lines.append(f"{world.now:10.2f}  {line}")

    def leave(outcome: str) -> NoReturn:
        provider.save()
        report = {"outcome": outcome, "now": world.now, "steps": world.steps, "operations": disk.operations}
        report |= {"lines": lines, "modules": [] if setup.number else sorted(sys.modules)}
        (setup.folder / "report.json").write_text(json.dumps(report))
        os._exit(0)

    def crash(where: str) -> NoReturn:
        if setup.power_cut:
            disk.lose_power()
        stuck = where.startswith("everybody waits")
        leave(f"stuck: {where}" if stuck else f"killed at step {world.steps}, at {where}")

    if setup.traced:
        world.trace = trace
    world.crash, world.crash_at = crash, setup.crash_at
    SimulatedTeacher.clock, SimulatedTeacher.http = SimulatedClock(world), provider  # type: ignore[assignment]
    try:
        workspace = Workspace(home=setup.folder / "home", config=config_of(setup), disk=disk)
        if setup.forget:
            _forget(workspace, setup.forget)
        else:
            _run(world, workspace)
    except (UnderstudyError, OSError) as error:
        leave(f"failed: {type(error).__name__}: {error}")
    except BaseException:
        leave(f"defect: {traceback.format_exc()}")
    leave("done")


def _run(world: World, workspace: Workspace) -> None:
    """What the flow build-dataset does, as far as the split."""
    with locks.held(workspace.lock, CHANNEL):
        try:
            entries = reading.list_talks.fn(workspace)
            if due := reading.due(workspace, entries):
                policies.shared_teacher(workspace)
                _read(world, workspace, list(due))
            talks = reading.ready(workspace, entries)
            if not talks:
                raise DatasetError("no talk could be used")
            names = ("document", "questions", "answers")
            refs = {f"{name}/{talk.document_id}": getattr(talk, name) for name in names for talk in talks}
            graph = Graph(workspace, lambda nodes: [materialize(node) for node in nodes], refs)
            graph.get("pairs")
            graph.get("split")
        finally:
            teachers.dismiss(workspace)


def _read(world: World, workspace: Workspace, due: list[Entry]) -> None:
    """Both passes over every talk, several at once; the first failure is raised when all have ended."""
    failures: list[BaseException] = []

    def work() -> None:
        while due:
            try:
                reading._read(workspace, due.pop(0), "answers")
            except BaseException as error:
                failures.append(error)

    seats = [world.run(f"talks {number}", work) for number in range(WORKERS)]
    world.wait(lambda: all(seat.ended for seat in seats))
    if failures:
        raise failures[0]


def _forget(workspace: Workspace, document_id: str) -> None:
    with locks.held(workspace.lock, CHANNEL):
        ledger = Ledger(workspace.folder / "ledger.sqlite")
        rows: list[Any] = [row for row in ledger.rows() if row.document_id == document_id]
        forgetting.forget(workspace.folder, rows)
