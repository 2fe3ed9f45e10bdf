"""Kill -9 at every stage, servers that go away, runs side by side: nothing is lost, or paid twice."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import ROOT, TINY_FLAGS
from tests.flows.machine import PrefectServer, kill, said, started, until, worker_of
from understudy import store
from understudy.records import Manifest

CONCURRENCY = 4
TALKS = sorted((ROOT / "deployments/sample_channel").glob("*.vtt"))[:8]
Process = subprocess.Popen[str]
There = Callable[[Path, Process], Any]
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc, as on Linux")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("faults") / "prefect") as server:
        yield server


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for file in TALKS:
        shutil.copy(file, folder)
    return folder


def flags(talks: Path, teacher: TeacherServer, *more: str) -> list[str]:
    return [
        "--preset", "documents", "--documents", str(talks), *TINY_FLAGS, "--set", "gates=[{use: length, min_words: 5}]",
        "--set", "questions.at_most=3", "--set", "evaluate.suites=false", "--set", "evaluate.prompted_base=false",
        "--set", "export.types=[]",
        "--set", f"teacher={{use: openai, model: gpt-5-mini, base_url: '{teacher.url}', concurrency: {CONCURRENCY}}}",
        *more,
    ]  # fmt: skip


def begun(pattern: str) -> There:
    """True once something is being written where `pattern` matches below models/."""
    return lambda home, process: next(home.glob(f"models/{pattern}"), None)


def working(module: str) -> There:
    """The number of the worker process that runs `module`, once there is one."""
    return lambda home, process: worker_of(process, f"understudy.{module}")


POINTS: list[tuple[There] | tuple[There, bool]] = [
    (working("bases.scratch_worker"), True),
    (begun("bases/.*.partial"),),
    (working("trainers.mlx_lora_worker"), True),
    (begun("*/*/.adapter.partial/metrics.jsonl"),),
    (begun("*/*/.fused.partial"),),
    (working("exporters.gguf_worker"), True),
    (begun("*/*/gguf/.*.tmp"),),
    (begun("*/*/samples/base.jsonl"),),
]


def unsound(home: Path) -> list[str]:
    """Assets whose manifest does not hold, and leftovers of writing."""
    found = [str(f) for f in home.rglob("*") if f.name.endswith((".tmp", ".partial", ".old"))]
    manifests = list(home.rglob(f"*{store.MANIFEST}"))
    assert len(manifests) > 3 * len(TALKS)
    for file in manifests:
        told = Manifest.model_validate_json(file.read_bytes())
        if store.fresh(home, told.asset.path, told.fingerprint) is None:
            found.append(told.asset.path)
        target = home / told.asset.path
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() != told.asset.sha256:
            found.append(told.asset.path)
    return found


def test_whatever_is_killed_the_next_run_goes_on_and_nothing_is_paid_twice(
    prefect: PrefectServer, talks: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with TeacherServer(Plan(latency=0.3, words=30)) as teacher:
        told = flags(talks, teacher)

        def killed(there: There, worker: bool = False) -> None:
            """Run until `there`, then kill the worker it names, or the whole run."""
            process = started(home, *told, environment=prefect.environment)
            until(lambda: there(home, process) or process.poll() is not None)
            if worker:
                os.kill(int(there(home, process)), signal.SIGKILL)
                assert process.wait() == 1, said(home)
            assert worker or process.poll() is None, said(home)
            kill(process)

        for calls in (3, 9):
            killed(lambda *_, calls=calls: teacher.account.paid_calls >= calls)
        prefect.kill()
        prefect.start()
        for point in POINTS:
            killed(*point)
        once = teacher.account.paid_calls
        process = started(home, *told, environment=prefect.environment)
        assert process.wait() == 0, said(home)
        assert teacher.account.paid_again <= 2 * CONCURRENCY
        assert teacher.account.paid_calls == once <= 2 * len(TALKS) + 2 * CONCURRENCY
    assert "killed, most likely for want of memory" in said(home)
    assert not unsound(home)
    card = json.loads(next(home.glob("models/*/*/scorecard.json")).read_text())
    assert [c["name"] for c in card["candidates"]] == ["base", "adapter", "fused", "F16"]


def test_a_network_that_goes_away_is_waited_for_and_a_second_run_is_told_who_works(
    prefect: PrefectServer, talks: Path, tmp_path: Path
) -> None:
    home, plan = tmp_path / "home", Plan(latency=0.3, words=30)
    with TeacherServer(plan) as teacher:
        told, port = flags(talks, teacher, "--only", "dataset"), int(teacher.url.split(":")[2].split("/")[0])
        process = started(home, *told, environment=prefect.environment)
        until(lambda: teacher.account.paid_calls >= 5 or process.poll() is not None)
    paid = teacher.account.paid_calls
    try:
        until(lambda: any("wait until there is one" in f.read_text() for f in home.glob("logs/*.log")))
        second = started(home, *told, environment=prefect.environment)
        assert second.wait() == 2 and f"in use by process {process.pid}" in said(home)
        assert process.poll() is None
        with TeacherServer(plan, port) as teacher:
            assert process.wait() == 0, said(home)
            assert paid + teacher.account.paid_calls <= 2 * len(TALKS) + CONCURRENCY
    finally:
        kill(process)
    assert not unsound(home)


def test_three_channels_at_once_do_not_meet(prefect: PrefectServer, talks: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with TeacherServer(Plan(latency=0.05)) as teacher:
        runs = [
            started(home, *flags(talks, teacher, "--only", "dataset", "--set", f"name={name}"),
                    environment=prefect.environment)
            for name in ("ada", "bell", "curie")
        ]  # fmt: skip
        try:
            assert [run.wait() for run in runs] == [0, 0, 0], said(home)
        finally:
            for run in runs:
                kill(run)
        assert teacher.account.paid_calls == 3 * 2 * len(TALKS)
    rows = {
        name: [json.loads(line) for line in (home / f"data/{name}/dataset/train.jsonl").open()]
        for name in ("ada", "bell", "curie")
    }
    assert rows["ada"] and rows["ada"] == rows["bell"] == rows["curie"]
    assert not unsound(home)
