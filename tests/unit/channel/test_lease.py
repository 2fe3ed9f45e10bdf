"""A lease is taken by one process at a time, and only the process that took it last may write."""

from pathlib import Path

import pytest

from understudy.channel import lease
from understudy.database import database
from understudy.errors import Busy


def test_a_lease_that_another_process_took_does_not_count_any_more(tmp_path: Path) -> None:
    tables = database(tmp_path / "lease", lease._SCHEMA)
    first = lease.Lease(tables, "tea")
    with first.fenced():
        pass
    with pytest.raises(Busy, match="data/tea is in use by process"):
        lease.Lease(tables, "tea")
    first.release()
    second = lease.Lease(tables, "tea")
    assert second.token > first.token
    with pytest.raises(Busy, match="expired"), first.fenced():
        pytest.fail("the token is checked first")
    first.release()
    with second.fenced():
        pass
