"""Limits between runs: made once, held for a part of a run, given back when their holder is gone."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from understudy.tasks import limits

from understudy.errors import Busy

pytestmark = pytest.mark.usefixtures("prefect_server")


def active(name: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(name).active_slots


def resize(name: str, size: int) -> None:
    with get_client(sync_client=True) as client:
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=size, active_slots=0))


def test_limits_are_made_once_and_keep_their_size() -> None:
    limits.ensure()
    resize("teacher", 7)
    limits.ensure()
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name("teacher").limit == 7


def test_a_slot_is_held_in_the_block_and_given_back_after() -> None:
    limits.ensure()
    resize("teacher", 1)
    with limits.slot("teacher"):
        assert active("teacher") == 1
    assert active("teacher") == 0


def test_slots_of_runs_that_are_gone_are_given_back() -> None:
    limits.ensure()
    resize("teacher", 1)
    with get_client(sync_client=True) as client:
        client.update_global_concurrency_limit("teacher", GlobalConcurrencyLimitUpdate(active_slots=1))
    with limits.slot("teacher", wait_seconds=1):
        assert active("teacher") == 1


def test_slots_of_runs_that_go_on_are_not_taken_from_them() -> None:
    limits.ensure()
    resize("teacher", 1)
    from prefect import flow

    @flow
    def second() -> None:
        with pytest.raises(Busy, match="1 other runs hold"), limits.slot("teacher", 1):
            pass

    @flow(name="build-dataset")
    def first() -> None:
        with concurrency("teacher"):
            second()

    first()
