"""Limits between runs: made once, held for a part of a run, given back when their holder is gone."""

import threading
import time

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from understudy.tasks import limits

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


def test_who_finds_no_slot_waits_as_long_as_others_work_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.ensure()
    resize("teacher", 1)
    monkeypatch.setattr(limits, "FIRST_SECONDS", 1.0)
    lines: list[str] = []
    monkeypatch.setattr(limits.log, "warning", lambda line, *values: lines.append(line % values))

    @flow(name="build-dataset")
    def second() -> None:
        with limits.slot("teacher", wait_seconds=1):
            lines.append("second works")

    @flow(name="build-dataset")
    def first() -> None:
        with limits.slot("teacher"):
            waiting = threading.Thread(target=second)
            waiting.start()
            time.sleep(6)
            assert len(lines) == 1 and "waiting until one ends" in lines[0]
        waiting.join(60)

    first()
    assert lines[1:] == ["second works"]
