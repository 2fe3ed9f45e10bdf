"""Machines that share nothing but an S3 and a PostgreSQL: the same dataset, paid once, and a new machine goes on."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import ROOT
from tests.flows.machine import PrefectServer, kill, said, started, until
from tests.scale import services
from understudy.config import load
from understudy.errors import ConfigError
from understudy.workspace import Workspace

pytest.importorskip("prefect_dask", reason="prefect-dask is an extra: pip install prefect-dask distributed")
pytest.importorskip("psycopg", reason="psycopg is an extra: pip install 'psycopg[binary]'")
TALKS = sorted((ROOT / "deployments/sample_channel").glob("*.vtt"))[:6]
SIDES = ("train.jsonl", "valid.jsonl", "test.jsonl")
PRESET = ROOT / "deployments/presets/documents.yaml"


class Machines:
    """One that runs flows, and two Dask workers; each has a disk of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], postgres: str) -> None:
        self.folder, self.environment, self.postgres = folder, environment, postgres
        self.workers = [folder / "worker-one", folder / "worker-two"]
        self.processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self) -> None:
        file = self.folder / "scheduler.json"
        dask = [sys.executable, "-m", "distributed.cli.dask_"]
        told = [["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]]
        told += [["worker", "--scheduler-file", str(file), "--nthreads", "2", "--no-nanny", "--no-dashboard",
                  "--host", "127.0.0.1"]] * 2  # fmt: skip
        for number, (command, *rest) in enumerate(told):
            home = {"UNDERSTUDY_HOME": str(self.workers[number - 1])} if number else {}
            log = (self.folder / f"dask-{number}.log").open("wb")
            run = [*dask[:-1], dask[-1] + command, *rest]
            self.processes.append(subprocess.Popen(run, cwd=ROOT, env=self.environment | home, stdout=log, stderr=log))
            until(file.exists)
        import json

        self.address = json.loads(file.read_text())["address"]

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def changes(self, talks: Path, teacher: dict[str, Any]) -> dict[str, Any]:
        return {"name": "tea", "source": {"use": "documents", "path": str(talks)}, "teacher": teacher,
                "gates": [{"use": "length", "min_words": 5}], "questions.at_most": 3, "ledger": self.postgres,
                "runner": {"use": "dask", "workers": 2, "address": self.address},
                "data_root": "s3://bucket/machines"}  # fmt: skip

    def run(self, home: Path, changes: dict[str, Any]) -> Workspace:
        flags = [f for key, value in changes.items() for f in ("--set", f"{key}={value}".replace("'", '"'))]
        process = started(home, "--preset", "documents", "--only", "dataset", *flags, environment=self.environment)
        try:
            assert process.wait(300) == 0, said(home)
        finally:
            kill(process)
        return Workspace(home=home, config=load(PRESET, changes))


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    with ExitStack() as stack:
        s3 = stack.enter_context(services.s3())
        postgres = stack.enter_context(services.postgres())
        prefect = stack.enter_context(PrefectServer(folder / "prefect"))
        found = Machines(folder, prefect.environment | s3, postgres)
        stack.callback(found.stop)
        found.start()
        yield found


@services.needs_postgres
def test_machines_without_a_common_disk_make_one_dataset_and_pay_once(machines: Machines, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for file in TALKS:
        shutil.copy(file, talks)
    with TeacherServer(Plan(words=30, latency=0.3)) as server:
        changes = machines.changes(talks, {"use": "openai", "model": "gpt-5-mini", "base_url": server.url})
        first = machines.run(tmp_path / "first", changes)
        for home in machines.workers:
            assert list(home.glob("data/tea/documents/*/answers.json")), "both workers had talks"
        assert server.account.paid_calls == 2 * len(TALKS)
        rows = [(first.folder / "dataset" / side).read_bytes() for side in SIDES]
        assert {row.status for row in first.ledger.rows()} == {"ok"} and len(first.ledger.rows()) == len(TALKS)

        second = machines.run(tmp_path / "second", changes)  # a machine that never saw the channel
        assert server.account.paid_calls == 2 * len(TALKS)
        assert [(second.folder / "dataset" / side).read_bytes() for side in SIDES] == rows
        assert len(list(second.folder.glob("documents/*/answers.json"))) == len(TALKS)

        changes |= {"runner": {"use": "threads", "workers": 2}, "data_root": f"file://{tmp_path}/nas", "name": "alone"}
        del changes["ledger"]
        for name in ("alone", "next"):
            alone = machines.run(tmp_path / name, changes)
            assert [(alone.folder / "dataset" / side).read_bytes() for side in SIDES] == rows
            assert alone.ledger.counts() == {"ok": len(TALKS)}, "also where a ledger of its own never saw them fetched"
        assert len(list((tmp_path / "nas/data/alone/documents").glob("*/answers.json"))) == len(TALKS)
        assert server.account.paid_calls == 4 * len(TALKS)


def test_workers_elsewhere_need_a_ledger_they_can_all_reach() -> None:
    runner = {"use": "dask", "workers": 2, "address": "tcp://127.0.0.1:9"}
    with pytest.raises(ConfigError, match="set ledger to postgresql"):
        load(PRESET, {"data_root": "s3://bucket/x", "runner": runner})
    with pytest.raises(ConfigError, match="data_root: write it as"):
        load(PRESET, {"data_root": "/mnt/nas"})
