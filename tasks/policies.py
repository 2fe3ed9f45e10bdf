"""
How tasks run: retries, cache keys, limits, batches. What they do is in `understudy.stages`.

Freshness belongs to `understudy.store`, which sees contents, settings and versions; Prefect's
cache carries the same fingerprint as its key, so the UI says Cached where the store says fresh.
"""

import logging
import math
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run, task_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from understudy.tasks import cluster, elsewhere, limits, live

from understudy import graph, locks
from understudy.channel import home, lease, transfer
from understudy.channel.ledger import key_of
from understudy.config import Config
from understudy.errors import SourceError, Transient, WorkerFailed
from understudy.graph import Node
from understudy.interfaces import Source, Teacher
from understudy.records import AssetRef, Entry
from understudy.runs import teachers
from understudy.sections import RunnerSettings
from understudy.sources import several
from understudy.text.words import counted
from understudy.workspace import Workspace

TASKS_PER_STAGE = 100  # about 300 task runs per flow run; the server's queue loses more (and costs 25 s CPU per 1,000)
TASKS_PER_TALK = 3
TALKS_PER_WORKER = 10  # of one task on Dask, whose records travel to the worker and back
RETRY_SECONDS = (2, 10, 60)
_fetching = threading.Lock()
log = logging.getLogger("understudy.runs")
Item = TypeVar("Item")
P = ParamSpec("P")
R = TypeVar("R")


def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry only what a retry can fix; a wrong path fails at once."""
    return isinstance(state.result(raise_on_failure=False), Transient)


def fingerprint_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """The cache key: the task's name and the fingerprint of its asset."""
    return f"understudy-{context.task.name}-{parameters['fingerprint']}"


def named() -> str:
    """'collect-tea-01-why-tea-cools': task, channel and talk, as the UI lists them; of a batch how many."""
    parameters = task_run.parameters
    talk, batch = parameters.get("entry"), parameters.get("entries") or parameters.get("talks")
    which = [talk.document_id] if isinstance(talk, Entry) else [f"{len(batch)}-talks"] if batch else []
    return "-".join([task_run.task_name, parameters["workspace"].config.name, *which])


def talk_task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task of one talk, or of a batch of talks. Only talks that are due get one, so there is nothing to cache."""
    return task(
        name=name,
        task_run_name=named,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
    )


def as_it_is(node: Node) -> Node:
    """The node, marked so that Prefect hands it on unseen: it would look for futures in every reference."""
    return cast(Node, quote(node))


@task(cache_key_fn=fingerprint_key, persist_result=True, result_serializer="json")
def _materialize(fingerprint: str, node: Node) -> AssetRef:
    return elsewhere.materialize(node) if elsewhere.trains(node) else graph.materialize(node)


def materialize(nodes: Sequence[Node]) -> list[AssetRef]:
    """Run a task per asset, side by side where there are several; results are references, written as JSON.

    Prefect may remember what the disk has lost: a cached result counts only while the asset is fresh. What comes back
    is read from the disk, since an asset that was made again from the same inputs may have other timings in it.
    """
    bound = [
        _materialize.with_options(
            name=node.stage.replace("_", "-"), task_run_name=node.label, refresh_cache=node.fresh() is None
        )
        for node in nodes
    ]
    with live.span(", ".join(node.label for node in nodes)):
        if len(nodes) == 1:
            refs = [bound[0](nodes[0].fingerprint, as_it_is(nodes[0]))]
        else:
            futures = [one.submit(node.fingerprint, as_it_is(node)) for one, node in zip(bound, nodes, strict=True)]
            refs = [future.result() for future in futures]
    return [node.fresh() or ref for node, ref in zip(nodes, refs, strict=True)]


def batches(due: Sequence[Item], at_most: int | None = None) -> Iterator[list[Item]]:
    """One item each while at most TASKS_PER_STAGE are due, beyond that equal batches, of `at_most` so many items."""
    size = max(1, -(-len(due) // TASKS_PER_STAGE))
    size = min(size, at_most) if at_most else size
    yield from (list(due[at : at + size]) for at in range(0, len(due), size))


def raise_first_failure(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Raise what made the first task fail; those that waited for it only say that they were not ready."""
    for future in futures:
        if future.state.is_failed() or future.state.is_crashed():
            future.result()


def raise_lost(futures: Iterable[PrefectFuture[Any]], talks: Iterable[Sequence[str]]) -> None:
    """Raise WorkerFailed, with the talks of each, where a task was waited for and never ended: its worker is gone."""
    lost = [name for future, batch in zip(futures, talks, strict=True) if not future.state.is_completed()
            for name in batch]  # fmt: skip
    if lost:
        shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise WorkerFailed(f"the workers of {counted(len(lost), 'talk')} were lost ({shown}); the others are kept")


def runner(settings: RunnerSettings) -> TaskRunner[Any]:
    """What runs the tasks of talks. Raises ConfigError when it is not installed."""
    return cluster.runner(settings) if settings.use == "dask" else local_runner(settings)


def local_runner(settings: RunnerSettings) -> TaskRunner[Any]:
    """Threads of this process: a talk's later tasks hold one each while they wait for the earlier ones."""
    runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=TASKS_PER_TALK * settings.workers)
    return runner


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """The only run of a channel; where the preset names a `remote`, it begins with a pull and ends with a push.

    A run that somebody asked a server for waits for its channel. A night of a schedule and a run in a terminal do not
    (Busy): the next night does the same work, and in a terminal the person can wait.
    """
    config = workspace.config
    home.mark(workspace.home)
    workspace.ledger.close()  # its address is noted now, for the lease
    with (
        lease.alone(workspace.folder, lost=_stop, waiting=log.warning if _asked_for() else None) as held,
        transfer.synchronised(workspace.home, config.name, config.remote, held),
    ):
        try:
            yield
        finally:
            workspace.ledger.close()  # all is in the file, so that a run with nothing to do leaves it as it is


def _asked_for() -> bool:
    """True in a run of a deployment that no schedule started."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and run.deployment_id is not None and not run.auto_scheduled


def _stop() -> None:
    """End this run as Prefect ends one: another machine may work on its channel."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def one_fetch_at_a_time(source: Source) -> Iterator[None]:
    """For a source that must be polite, one fetch per machine at a time; the others all at once."""
    if not getattr(source, "polite", False):
        yield
        return
    lock = Path(tempfile.gettempdir()) / f"understudy-fetch-{locks.user()}.lock"
    with _fetching, locks.held(lock, "fetching on this machine", wait_seconds=math.inf), limits.slot("youtube"):
        yield


@lru_cache(maxsize=4)
def _sources_of(flow_run_id: str | None, config: str, folder: Path) -> dict[str, Source]:
    return several.built(Config.model_validate_json(config), folder)


def shared_sources(workspace: Workspace) -> dict[str, Source]:
    """The sources of this flow run by key, the same for all its tasks: they count their requests, and keep a pace."""
    return _sources_of(flow_run.id, workspace.config.model_dump_json(), workspace.folder)


def source_of(workspace: Workspace, entry: Entry) -> Source:
    """The source that a talk comes from. Raises SourceError where the preset no longer has it."""
    source = shared_sources(workspace).get(key_of(entry.revision))
    if source is None:
        raise SourceError("the preset no longer has the source that it comes from")
    return source


def shared_teacher(workspace: Workspace, role: teachers.Role = "teacher") -> Teacher:
    """The teacher or verifier of this process for a channel; on a Dask worker with its share of the limits."""
    spec = workspace.config.teacher if role == "teacher" else workspace.config.verify
    return teachers.shared(workspace, role, cluster.share(spec, workspace.config.runner))


def last_attempt() -> bool:
    """True in the last of a task run's attempts."""
    return task_run.run_count is None or task_run.run_count > len(RETRY_SECONDS)
