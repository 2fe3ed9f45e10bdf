"""Whole runs on machines without a shared disk: the second continues from what the first made, and pays nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.machine import PrefectServer, output_of
from tests.scale import services
from tests.scale.test_dask import ROWS, TALKS, run


@pytest.fixture
def prefect(bucket: str, tmp_path: Path) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path / "prefect") as server:  # after the bucket, whose keys its runs need
        yield server


@services.needs_postgres
def test_a_machine_continues_from_what_another_one_made(bucket: str, prefect: PrefectServer, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for file in TALKS[:-1]:
        shutil.copy(file, talks)
    with services.postgres() as database, TeacherServer(Plan(words=30)) as server:
        shared = ("--set", f"ledger={database}", "--set", f"remote={bucket}/machines")
        teacher = {"use": "openai", "model": "gpt-5-mini", "base_url": server.url}
        rows = []
        for name, calls in (("one", 5), ("two", 5), ("two", 6), ("one", 6)):
            if calls == 6:
                shutil.copy(TALKS[-1], talks)
            status, workspace = run(prefect, tmp_path / name, talks, teacher, "{use: threads}", *shared)
            assert status == 0, output_of(tmp_path / name)
            assert server.account.paid_calls == 2 * calls
            rows.append([(workspace.folder / "dataset" / side).read_bytes() for side in ROWS])
        assert rows[0] == rows[1] != rows[2] == rows[3]
