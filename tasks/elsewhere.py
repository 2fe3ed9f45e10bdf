"""
Have a machine of a work pool train: a run of the flow `train-model` is created, and waited for.

The run is known by a tag, so that a second one at home waits for the one that is under way. A pool without any worker
is waited for `machine.wait_minutes`; what was trained so far is at the place, and the next run continues from there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any

import httpx
from prefect.artifacts import ProgressArtifact, update_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterTags,
)
from prefect.client.schemas.filters import FlowRunFilterStateType as StateIs
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled
from understudy.tasks import live

from understudy.config import Config
from understudy.errors import ConfigError, WorkerFailed
from understudy.graph import Node
from understudy.interfaces import Progress
from understudy.records import AssetRef
from understudy.runs.elsewhere import RemoteTrainer, Request
from understudy.sections import MachineSettings
from understudy.text.words import one_line

TRAINED = ("adapter", "trial")
PACE_SECONDS = 2.0
UNDER_WAY = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]


def trains(node: Node) -> bool:
    """Whether this asset is trained on another machine."""
    return bool(node.config.machine.pool) and node.name in TRAINED and node.config.trainer.use != "external"


def check(config: Config, only: str | None = None) -> None:
    """Raise ConfigError where a pool is named that a run which trains could not reach."""
    if config.machine.pool is None or only in ("dataset", "score"):
        return
    if not PREFECT_API_URL.value():
        raise ConfigError(
            [
                "machine.pool: a Prefect server must be between both machines; start it with `understudy deploy`, and "
                "set PREFECT_API_URL to what it says"
            ]
        )
    with get_client(sync_client=True) as client:
        _deployment(client, config.name)


def materialize(node: Node) -> AssetRef:
    """The asset of a node, trained on a machine of the pool unless it is fresh."""
    if ref := node.fresh():
        return ref
    remote = RemoteTrainer(node, partial(wait, machine=node.config.machine))
    stage = import_module(f"understudy.stages.{node.stage}")
    asset: AssetRef = stage.materialize(node, remote)
    remote.forget()
    return asset


def wait(request: Request, progress: Progress, machine: MachineSettings) -> str:
    """Wait until a run of this training has ended; its last state, in words. Raises WorkerFailed without a worker."""
    with get_client(sync_client=True) as client:
        run = _run(client, request)
        last_online = time.monotonic()
        while not (run.state and run.state.is_final()):
            time.sleep(PACE_SECONDS)
            with suppress(httpx.HTTPError):  # a server that restarts
                run = client.read_flow_run(run.id)
                _show(client, request, progress)
                if _workers(client, str(machine.pool)):
                    last_online = time.monotonic()
            if time.monotonic() - last_online > 60 * machine.wait_minutes and not (run.state and run.state.is_final()):
                client.set_flow_run_state(run.id, Cancelled(message="no worker of the pool was there"), force=True)
                raise WorkerFailed(no_worker(machine, PREFECT_API_URL.value() or ""))
    return f"{run.state.name}, {one_line(run.state.message or 'without a word', 200)}"


def no_worker(machine: MachineSettings, api: str) -> str:
    """What to do when nobody trains."""
    return (
        f"no worker of the pool {machine.pool!r} was there for {machine.wait_minutes:g} minutes "
        "(machine.wait_minutes); start one on the machine that is to train, then run again, nothing is lost: "
        f"PREFECT_API_URL={api} prefect worker start --pool {machine.pool} --type process"
    )


@contextmanager
def bar(request: Request) -> Iterator[Progress]:
    """Progress of a training for somebody else, as an artifact that the run at home reads."""
    shown = live.Shown("the progress of the training", PACE_SECONDS)

    def progress(done: int, total: int, note: str = "") -> None:
        if shown.due and total:
            percent, text = round(100 * done / total, 1), f"{done} of {total}: {note}"
            artifact: Any = ProgressArtifact(progress=percent, key=request.id, description=text)
            shown.put(lambda: artifact.create().id, lambda one: update_progress_artifact(one, percent, text))

    yield progress


def _show(client: SyncPrefectClient, request: Request, progress: Progress) -> None:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[request.id]))
    for artifact in client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1):
        count, _, note = (artifact.description or "").partition(": ")
        done, _, total = count.partition(" of ")
        if done.isdigit() and total.isdigit():
            progress(int(done), int(total), f"{note}, elsewhere")


def _run(client: SyncPrefectClient, request: Request) -> FlowRun:
    """The run that is under way for this training, or a new one."""
    under_way = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[request.id]), state=FlowRunFilterState(type=StateIs(any_=UNDER_WAY))
        )
    )
    if under_way:
        return under_way[0]
    return client.create_flow_run_from_deployment(
        _deployment(client, request.channel).id,
        parameters={"request": request.model_dump(mode="json")},
        tags=["understudy", request.channel, request.id],
    )


def _deployment(client: SyncPrefectClient, channel: str) -> Any:
    try:
        return client.read_deployment_by_name(f"train-model/train-model-{channel}")
    except ObjectNotFound:
        raise ConfigError(
            [
                f"machine.pool: the server knows no deployment train-model-{channel}; make it and the pool with "
                "understudy deploy --preset FILE, whose preset names the pool"
            ]
        ) from None


def _workers(client: SyncPrefectClient, pool: str) -> bool:
    return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))
