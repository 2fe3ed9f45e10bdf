"""
Limits between runs, kept by a Prefect server where one runs, else by lock files of this machine.

One slot is held for a whole part of a run, never per call: a Prefect limit is slow under contention.
Inside a run the teacher's scheduler and the source's pace are the limits.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateIs
from prefect.client.schemas.objects import StateType
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from understudy import locks

log = logging.getLogger("understudy.limits")

LIMITS = {"teacher": 2, "youtube": 1}
LEASE_SECONDS = 60  # the least a server takes; a killed run's slot comes back after it
FIRST_SECONDS, WAIT_SECONDS = 5.0, 300.0


def kept_by_a_server() -> bool:
    """True when runs of several processes meet at one server."""
    return bool(PREFECT_API_URL.value())


def ensure() -> None:
    """Make the limits that are missing; those that are there keep the size somebody gave them."""
    if not kept_by_a_server():
        return
    with get_client(sync_client=True) as client:
        for name, size in LIMITS.items():
            try:
                client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                with suppress(ObjectAlreadyExists):  # another run was faster
                    client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=size))


@contextmanager
def slot(name: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """One slot of the limit `name` inside the block; waits as long as other runs work, and says so once.

    After each `wait_seconds`, slots that no run can hold are released: a server that was killed forgets its leases.
    """
    if not kept_by_a_server():
        with locks.slot(name, LIMITS[name], math.inf, log.warning):
            yield
        return
    with ExitStack() as held:
        for attempt in count():
            try:
                held.enter_context(_occupied(name, wait_seconds if attempt else min(wait_seconds, FIRST_SECONDS)))
                break
            except TimeoutError:
                if attempt:
                    _release_leftovers(name)
                else:
                    log.warning("all slots of the limit %r are held by other runs; waiting until one ends, or until "
                                "more are allowed: prefect gcl update %s --limit N", name, name)  # fmt: skip
        yield


def _release_leftovers(name: str) -> None:
    """Leave at most as many slots taken as other runs are under way."""
    others = _others_running()
    with get_client(sync_client=True) as client:
        if client.read_global_concurrency_limit_by_name(name).active_slots > others:
            log.warning("slots of the limit %r were held by runs that are gone; they are released", name)
            client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=others))


@contextmanager
def _occupied(name: str, wait_seconds: float) -> Iterator[None]:
    with concurrency(name, timeout_seconds=wait_seconds, lease_duration=LEASE_SECONDS, strict=False):
        yield


def _others_running() -> int:
    """How many dataset runs other than this one are under way."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["build-dataset"])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=StateIs(any_=[StateType.RUNNING]))),
        )
    return sum(str(run.id) != flow_run.id for run in runs)
