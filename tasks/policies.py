"""
How tasks run: retries, cache keys, limits, batches. What they do is in `understudy.stages`.

Freshness belongs to `understudy.store`, which sees contents, settings and versions; Prefect's
cache carries the same fingerprint as its key, so the UI says Cached where the store says fresh.
"""

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run, task_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from understudy.tasks import cluster, limits

from understudy import locks, registry
from understudy.channel import lease, transfer
from understudy.errors import Transient
from understudy.interfaces import Source, Teacher
from understudy.records import AssetRef, Entry
from understudy.sections import PluginSpec, RunnerSettings
from understudy.workspace import Workspace

TASKS_PER_STAGE = 100  # about 300 task runs per flow run; the server's queue loses more (and costs 25 s CPU per 1,000)
TASKS_PER_TALK = 3
TALKS_PER_WORKER = 10  # of one task on Dask, whose records travel to the worker and back
# Written by one task, the key asset last.
TOGETHER = {
    "split": ("train", "valid", "test"),
    "scorecard": ("report",),
    "augmented": ("variants",),
    "adapter": ("run",),
}
APART = ("type", "format", "candidate", "learning_rate")  # parameters that tell runs of one task apart
only_training = locks.only_training
_fetching = threading.Lock()
Item = TypeVar("Item")


def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry only what a retry can fix; a wrong path fails at once."""
    return isinstance(state.result(raise_on_failure=False), Transient)


def fingerprint_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """The cache key: the task's name and what its asset is made from."""
    return f"understudy-{context.task.name}-{parameters['made_from']}"


def named() -> str:
    """'collect-tea-01-why-tea-cools': task, channel, talk or kind, as the UI lists them; of a batch how many."""
    told = task_run.parameters
    talk, batch = told.get("entry"), told.get("entries")
    which = [talk.document_id] if isinstance(talk, Entry) else [f"{len(batch)}-talks"] if batch else []
    kinds = [str(told[key]) for key in APART if key in told]
    return "-".join([task_run.task_name, told["workspace"].config.name, *which, *kinds])


RETRY_SECONDS = (2, 10, 60)
# One task run per talk, or per batch of talks. Only talks that are due get one, so there is nothing to cache.
DOCUMENTS = {
    "task_run_name": named,
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": list(RETRY_SECONDS),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}
# One task run per asset of the channel; results are references, written as JSON.
ASSET = {
    "task_run_name": named,
    "cache_key_fn": fingerprint_key,
    "persist_result": True,
    "result_serializer": "json",
}


def made(
    task: Task[..., AssetRef],
    asset: str,
    workspace: Workspace,
    inputs: Sequence[AssetRef],
    extra: Any = None,
    keys: dict[str, str] | None = None,
    **arguments: Any,
) -> AssetRef:
    """Run `task` for `asset`: Cached when it is fresh on disk, whatever Prefect remembers otherwise."""
    return prepared(task, asset, workspace, inputs, extra, keys)(**arguments)


class Prepared:
    """A task with its fingerprint worked out, to be called or submitted.

    What it gives back is read from the disk: Prefect may remember the reference of an asset that was
    made again since, from the same inputs, with other timings in it.
    """

    def __init__(self, task: Task[..., AssetRef], asset: str, keys: dict[str, str], arguments: dict[str, Any]) -> None:
        self.task, self.asset, self.keys, self.arguments = task, asset, keys, arguments

    def __call__(self, **more: Any) -> AssetRef:
        """Run it here."""
        return self._on_disk(self.task(**self.arguments, **more))

    def submit(self, **more: Any) -> Callable[[], AssetRef]:
        """Run it on the flow's task runner; call what comes back to wait for the asset."""
        future = self.task.submit(**self.arguments, **more)
        return lambda: self._on_disk(future.result())

    def _on_disk(self, remembered: AssetRef) -> AssetRef:
        return ready(self.asset, self.arguments["workspace"], self.arguments["made_from"], self.keys) or remembered


def prepared(
    task: Task[..., AssetRef],
    asset: str,
    workspace: Workspace,
    inputs: Sequence[AssetRef],
    extra: Any = None,
    keys: dict[str, str] | None = None,
) -> Prepared:
    """`task` bound to the fingerprint of `asset`; its cached result counts only while the asset is fresh."""
    made_from = workspace.fingerprint(asset, inputs, extra)
    stale = ready(asset, workspace, made_from, keys) is None
    arguments = {"workspace": workspace, "made_from": made_from} | (keys or {})
    return Prepared(task.with_options(refresh_cache=stale), asset, keys or {}, arguments)


def ready(asset: str, workspace: Workspace, made_from: str, keys: dict[str, str] | None = None) -> AssetRef | None:
    """The asset when it and what is written together with it are fresh on disk."""
    names = (*TOGETHER.get(asset, ()), asset)
    found = [workspace.fresh(name, made_from, **(keys or {})) for name in names]
    return None if None in found else found[-1]


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


def runner(settings: RunnerSettings) -> TaskRunner[Any]:
    """What runs the tasks of talks. Raises ConfigError when it is not installed."""
    return cluster.runner(settings) if settings.use == "dask" else local_runner(settings)


def local_runner(settings: RunnerSettings) -> ThreadPoolTaskRunner[Any]:
    """Threads of this process: a talk's later tasks hold one each while they wait for the earlier ones."""
    return ThreadPoolTaskRunner(max_workers=TASKS_PER_TALK * settings.workers)


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """The only run of a channel; where the preset names a `remote`, it begins with a pull and ends with a push."""
    config = workspace.config
    workspace.ledger.close()  # its address is noted now, so that the lease is found
    with (
        lease.alone(workspace.folder, lost=_stop) as held,
        transfer.synchronised(workspace.home, config.name, config.remote, held),
    ):
        yield


def _stop() -> None:
    """End this run as Prefect ends one: another machine may work on its channel."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def one_fetch_at_a_time(source: Source) -> Iterator[None]:
    """For a source that must be polite, one fetch per machine at a time; the others may all be asked at once."""
    if not getattr(source, "polite", False):
        yield
        return
    lock = Path(tempfile.gettempdir()) / f"understudy-fetch-{os.getuid()}.lock"
    with _fetching, locks.held(lock, "fetching on this machine", wait_seconds=24 * 3600), limits.slot("youtube"):
        yield


@lru_cache(maxsize=4)
def _source_of(flow_run_id: str | None, spec: str) -> Source:
    told = PluginSpec.model_validate_json(spec)
    return registry.build("source", told.use, told.options)


def shared_source(workspace: Workspace) -> Source:
    """The source of this flow run, one for all its tasks: it counts what was asked, and keeps its pace."""
    return _source_of(flow_run.id, workspace.config.source.model_dump_json())


_teachers: dict[tuple[str, str], tuple[str | None, Teacher]] = {}
_starting = threading.Lock()


def shared_teacher(workspace: Workspace) -> Teacher:
    """The teacher of this process for a channel, one for all tasks: they share its budget and its limits."""
    return _begun("teacher", workspace, workspace.config.teacher, workspace.folder)


def shared_verifier(workspace: Workspace) -> Teacher:
    """The verifier, likewise."""
    return _begun("verify", workspace, workspace.config.verify, workspace.verifier_folder)


def _begun(role: str, workspace: Workspace, spec: PluginSpec, folder: Path) -> Teacher:
    """A Dask worker outlives a run, so that it may hold the teacher of an earlier one: with its budget used up."""
    key, run = (role, workspace.model_dump_json()), flow_run.id
    with _starting:
        if key in _teachers and cluster.inside() and _teachers[key][0] != run:
            _teachers.pop(key)[1].close()
        if key not in _teachers:
            found: Teacher = workspace.plugin("teacher", cluster.share(spec, workspace.config.runner))
            found.begin(folder)
            _teachers[key] = (run, found)
        return _teachers[key][1]


def dismiss_teachers(workspace: Workspace) -> None:
    """Let teacher and verifier finish what they were asked, and forget them."""
    with _starting:
        found = [_teachers.pop((role, workspace.model_dump_json()), None) for role in ("teacher", "verify")]
    for one in filter(None, found):
        one[1].close()


def last_attempt() -> bool:
    """True in the last of a task run's attempts."""
    return task_run.run_count is None or task_run.run_count > len(RETRY_SECONDS)
