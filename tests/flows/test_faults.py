"""Kill -9 of runs, workers and servers, networks that go away, full disks, runs at once: nothing lost or paid twice."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import LEAN_FLAGS, ROOT
from tests.flows.machine import PrefectServer, kill, output_of, started, until, worker_of
from understudy import store
from understudy.records import Manifest

CONCURRENCY = 4
TALKS = sorted((ROOT / "deployments/sample_channel").glob("*.vtt"))[:8]
Process = subprocess.Popen[str]
TRAINING = "understudy.trainers.mlx_lora_worker"
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc, as on Linux")

# A disk of its own that is full once the first call is known; then there is room again.
SMALL_DISK = """
mount -t tmpfs -o size=600m tmpfs "$1" || exit 77
disk="$1"; shift
"$@" & run=$!
while [ ! -e "$disk/home/data/talks/calls.sqlite" ] && kill -0 $run; do sleep 0.05; done
cat /dev/zero > "$disk/filler" 2> "$disk/../filled"
wait $run; echo "first run: $?"
rm "$disk/filler"
exec "$@"
"""


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
        "--preset", "documents", "--documents", str(talks), *LEAN_FLAGS, "--set", "gates=[{use: length, min_words: 5}]",
        "--set", "questions.at_most=3",
        "--set", f"teacher={{use: openai, model: gpt-5-mini, base_url: '{teacher.url}', concurrency: {CONCURRENCY}}}",
        *more,
    ]  # fmt: skip


def there(home: Path, pattern: str) -> bool:
    """Whether something lies where `pattern` matches below models/."""
    return next(home.glob(f"models/{pattern}"), None) is not None


def unsound(home: Path) -> list[str]:
    """Assets whose manifest does not hold, and leftovers of writing."""
    problems = [str(f) for f in home.rglob("*") if f.name.endswith((".tmp", ".partial", ".old"))]
    manifests = list(home.rglob(f"*{store.MANIFEST}"))
    assert len(manifests) > 3 * len(TALKS)
    for file in manifests:
        manifest = Manifest.model_validate_json(file.read_bytes())
        if store.fresh(home, manifest.asset.path, manifest.fingerprint) is None:
            problems.append(manifest.asset.path)
        target = home / manifest.asset.path
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() != manifest.asset.sha256:
            problems.append(manifest.asset.path)
    return problems


def test_whatever_is_killed_the_next_run_goes_on_and_nothing_is_paid_twice(
    prefect: PrefectServer, talks: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with TeacherServer(Plan(latency=0.3, words=30)) as teacher:

        @contextmanager
        def run(point: Callable[[Process], Any]) -> Iterator[tuple[Process, Any]]:
            """A run that has come to `point`, with what that gives; whatever is left of it then is killed."""
            process, outcomes = started(home, *flags(talks, teacher), environment=prefect.environment), []
            try:
                until(lambda: outcomes.append(point(process)) or outcomes[-1] or process.poll() is not None)
                assert outcomes[-1] or point(process), output_of(home)
                yield process, outcomes[-1]
            finally:
                kill(process)

        with run(lambda _: 5 <= teacher.account.paid_calls < 2 * len(TALKS)) as (reading, _):
            assert reading.poll() is None
        prefect.kill()
        prefect.start()
        with run(lambda process: worker_of(process, TRAINING)) as (process, worker):
            os.kill(worker, signal.SIGKILL)
            assert process.wait() == 1 and "killed, most likely out of memory" in output_of(home), output_of(home)
        once = teacher.account.paid_calls
        with run(lambda _: there(home, "*/*/fused")) as (converting, _):
            assert converting.poll() is None
        with run(lambda process: process.poll() is not None) as (process, _):
            assert process.returncode == 0, output_of(home)
        assert teacher.account.paid_again <= CONCURRENCY
        assert teacher.account.paid_calls == once <= 2 * len(TALKS) + CONCURRENCY
    assert not unsound(home)
    card = json.loads(next(home.glob("models/*/*/scorecard.json")).read_text())
    assert [c["name"] for c in card["candidates"]] == ["base", "adapter", "fused", "F16"]


def test_a_network_that_goes_away_is_waited_for_and_a_second_run_is_told_who_works(
    prefect: PrefectServer, talks: Path, tmp_path: Path
) -> None:
    home, plan = tmp_path / "home", Plan(latency=0.3, words=30)
    with TeacherServer(plan) as teacher:
        options, port = flags(talks, teacher, "--only", "dataset"), int(teacher.url.split(":")[2].split("/")[0])
        process = started(home, *options, environment=prefect.environment)
        until(lambda: teacher.account.paid_calls >= 5 or process.poll() is not None)
    paid = teacher.account.paid_calls
    try:
        until(lambda: any("wait until it is there" in f.read_text() for f in home.glob("logs/*.log")))
        second = started(home, *options, environment=prefect.environment)
        assert second.wait() == 2 and f"in use by process {process.pid}" in output_of(home)
        assert process.poll() is None
        with TeacherServer(plan, port) as teacher:
            assert process.wait() == 0, output_of(home)
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
            assert [run.wait() for run in runs] == [0, 0, 0], output_of(home)
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


def test_a_full_disk_is_said_and_with_more_room_the_run_goes_on(
    prefect: PrefectServer, talks: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    home = disk / "home"
    with TeacherServer(Plan(words=30, latency=1.0)) as teacher:
        command = [sys.executable, str(ROOT / "flows/main.py"), "--home", str(home), *flags(talks, teacher)]
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(disk), *command, "--only", "dataset"],
            cwd=ROOT, env=prefect.environment, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode == 77 or "unshare" in done.stderr:
            pytest.skip("no file system of a size may be mounted here")
        assert "first run: 1" in done.stdout, done.stderr
        assert done.returncode == 0, done.stderr
        assert "space" in done.stderr or "disk full" in done.stderr
        assert teacher.account.paid_calls <= 2 * len(TALKS) + CONCURRENCY
