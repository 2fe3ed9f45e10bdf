"""The tasks of talks on a Dask cluster of two worker processes: the same dataset, paid once, within one budget."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import ROOT
from tests.flows.machine import PrefectServer, kill, output_of, started
from tests.scale import services
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.config import load
from understudy.errors import ConfigError
from understudy.sections import PluginSpec, RunnerSettings
from understudy.workspace import Workspace

pytest.importorskip("prefect_dask", reason="prefect-dask is an extra: pip install prefect-dask distributed")
TALKS = sorted((ROOT / "deployments/sample_channel").glob("*.vtt"))[:6]
ROWS = ("train.jsonl", "valid.jsonl", "test.jsonl")

LOSES = """
import os
from prefect import flow, task
from understudy.sections import RunnerSettings
from understudy.tasks import cluster, policies

@task(persist_result=False)
def read(number):
    if number:
        os._exit(1)

@flow
def loses():
    futures = [read.submit(number) for number in range(2)]
    for future in futures:
        future.wait()
    policies.raise_first_failure(futures)
    policies.raise_lost(futures, [["stays"], ["went"]])

if __name__ == "__main__":
    loses.with_options(task_runner=cluster.runner(RunnerSettings(use="dask", processes=2, workers=1)))()
"""


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("dask") / "prefect") as server:
        yield server


def run(
    prefect: PrefectServer, home: Path, talks: Path, teacher: dict[str, Any], runner: str, *more: str
) -> tuple[int, Workspace]:
    changes = {"name": "tea", "source": {"use": "documents", "path": str(talks)}, "teacher": teacher,
               "gates": [{"use": "length", "min_words": 5}], "questions.at_most": 3}  # fmt: skip
    flags = [f for key, value in changes.items() for f in ("--set", f"{key}={value}".replace("'", '"'))]
    process = started(home, "--preset", "documents", "--only", "dataset", *flags, "--set", f"runner={runner}", *more,
                      environment=prefect.environment)  # fmt: skip
    try:
        status = process.wait(240)
    finally:
        kill(process)
    return status, Workspace(home=home, config=load(ROOT / "deployments/presets/documents.yaml", changes))


def test_two_processes_make_the_same_dataset_and_pay_once(prefect: PrefectServer, tmp_path: Path) -> None:
    talks, rows = tmp_path / "talks", {}
    talks.mkdir()
    for file in TALKS:
        shutil.copy(file, talks)
    for name, runner in (("threads", "{use: threads}"), ("dask", "{use: dask, processes: 2, workers: 2}")):
        with TeacherServer(Plan(words=30, latency=0.1)) as server:
            teacher = {"use": "openai", "model": "gpt-5-mini", "base_url": server.url}
            for _ in range(1 if name == "threads" else 2):
                status, workspace = run(prefect, tmp_path / name, talks, teacher, runner)
                assert status == 0, output_of(tmp_path / name)
            assert server.account.paid_calls == 2 * len(TALKS)
        rows[name] = [(workspace.folder / "dataset" / side).read_bytes() for side in ROWS]
        assert {row.status for row in workspace.ledger.rows()} == {"ok"}
        assert sum(total.calls for total in CallLedger(workspace.folder / CALLS).summary()) == 2 * len(TALKS)
    assert rows["threads"] == rows["dask"]


def test_talks_whose_worker_dies_are_named_and_not_left_out_in_silence(prefect: PrefectServer, tmp_path: Path) -> None:
    (tmp_path / "loses.py").write_text(LOSES)
    environment = prefect.environment | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "loses.py")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "WorkerFailed: the workers of 1 talk were lost (went)" in done.stderr


def test_several_processes_together_stay_within_one_budget(prefect: PrefectServer, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for number in range(12):
        (talks / f"{number:02}.txt").write_text(f"Talk {number}. " + TALKS[number % 6].read_text() * 2)
    with TeacherServer(Plan(words=30, latency=0.1)) as server:
        # Even where the same answers are found again, all calls together cost at least 0.024.
        price = {"input": 0.25, "output": 2.0}
        teacher = {"use": "openai", "model": "gpt-5-mini", "base_url": server.url, "price": price, "max_usd": 0.02}
        home = tmp_path / "home"
        status, workspace = run(prefect, home, talks, teacher, "{use: dask, processes: 2, workers: 2}")
        assert status == 1 and "teacher.max_usd=" in output_of(home), output_of(home)
        assert 0 < server.account.usd <= 0.02
        assert CallLedger(workspace.folder / CALLS).spent() <= 0.02


def test_every_task_of_every_process_is_given_the_same_share(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster
    from understudy.tasks import cluster

    spec = PluginSpec(use="openai", model="gpt-5-mini", max_usd=1.0, concurrency=8)
    inside = {"n_workers": 2, "threads_per_worker": 4, "dashboard_address": None, "host": "127.0.0.1"}
    for _ in range(2):
        with LocalCluster(**inside) as running, Client(running) as client:
            for runner in (RunnerSettings(use="dask"), RunnerSettings(use="dask", address=running.scheduler_address)):
                futures = [client.submit(cluster.share, spec, runner, pure=False) for _ in range(16)]
                shares = [future.result().options for future in futures]
                assert {(options["max_usd"], options["concurrency"]) for options in shares} == {(1.0, 4)}
    assert cluster.share(spec, RunnerSettings(use="dask")) == spec


@services.needs_postgres
def test_workers_that_see_no_folder_of_the_flow_return_what_they_made(
    prefect: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    talks, scratch = tmp_path / "talks", tmp_path / "scratch"
    talks.mkdir()
    scratch.mkdir()
    for file in TALKS:
        shutil.copy(file, talks)
    monkeypatch.setenv("TMPDIR", str(scratch))
    inside = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None, "host": "127.0.0.1"}
    with services.postgres() as url, LocalCluster(**inside) as running, TeacherServer(Plan(words=30)) as server:
        home, teacher = tmp_path / "home", {"use": "openai", "model": "gpt-5-mini", "base_url": server.url}
        runner = f"{{use: dask, address: {running.scheduler_address!r}}}"
        for _ in range(2):
            status, workspace = run(prefect, home, talks, teacher, runner, "--set", f"ledger={url}")
            assert status == 0, output_of(home)
        assert server.account.paid_calls == 2 * len(TALKS)
        assert {row.status for row in workspace.ledger.rows()} == {"ok"}
        assert sum(total.calls for total in CallLedger(workspace.folder / CALLS).summary()) == 2 * len(TALKS)
    assert len(list(workspace.folder.glob("documents/*/answers.json"))) == len(TALKS)
    assert not list(home.rglob("*.sqlite"))
    left = {file.name for file in scratch.rglob("understudy-*/**/*") if file.is_file()}
    assert left == {"ledger.url"}, "nothing stays with the workers"


def test_workers_of_other_machines_need_a_ledger_they_can_reach() -> None:
    with pytest.raises(ConfigError, match=r"ledger: .*runner\.address.*postgresql"):
        load(ROOT / "deployments/presets/tiny.yaml", {"runner": {"use": "dask", "address": "tcp://10.0.0.5:8786"}})


def test_an_address_where_nobody_answers_is_said() -> None:
    from understudy.tasks import cluster

    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        cluster.runner(RunnerSettings(use="dask", address="tcp://127.0.0.1:9"))


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "http://x:1", "tcp://x", "tcp://a b:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="runner.address"):
        load(ROOT / "deployments/presets/tiny.yaml", {"runner": {"use": "dask", "address": address}})
