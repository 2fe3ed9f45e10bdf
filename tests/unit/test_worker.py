"""A worker's result comes back, its failure is told with the end of its log, and it dies with its parent."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from understudy import worker
from understudy.errors import ConfigError, DatasetError, WorkerFailed


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A worker that does what its job says."""
    (tmp_path / "odd_worker.py").write_text(
        "import os, sys, time\n"
        "from understudy.errors import ConfigError, DatasetError\n"
        "from understudy.worker import serve\n"
        "def run(job, report):\n"
        "    print('chatter on stdout')\n"
        "    for i in range(3): report(i + 1, 3, 'note')\n"
        "    if job['do'] == 'raise': raise ValueError('the very reason')\n"
        "    if job['do'] == 'refuse': raise ConfigError(['one', 'two'])\n"
        "    if job['do'] == 'lack': raise DatasetError('no row: ü')\n"
        "    if job['do'] == 'die': os.kill(os.getpid(), 9)\n"
        "    if job['do'] == 'wait':\n"
        "        open(job['mark'], 'w').write(str(os.getpid())); time.sleep(60)\n"
        "    return {'echo': job['do'], 'process': os.getpid()} if job.get('process') else {'echo': job['do']}\n"
        "if __name__ == '__main__': serve(dict, run, waits='WAITS' in os.environ)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "odd_worker"


def alive(pid: int) -> bool:
    """True while the process runs; one that ended and waits for its parent does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_progress_and_result_come_back(module: str, tmp_path: Path) -> None:
    reports: list[tuple[int, int, str]] = []
    result = worker.call(module, {"do": "ok"}, dict, lambda d, t, n="": reports.append((d, t, n)), tmp_path / "log")
    assert result == {"echo": "ok"} and reports == [(1, 3, "note"), (2, 3, "note"), (3, 3, "note")]
    assert "chatter" in (tmp_path / "log").read_text()


def process_of(module: str, **job: str) -> int:
    return int(worker.call(module, {"do": "ok", "process": "1"} | job, dict, lambda d, t, n="": None)["process"])


def test_a_worker_that_waits_does_the_next_job_of_its_kind_and_environment(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert process_of(module) != process_of(module), "one that does not wait ends after its job"
    monkeypatch.setenv("WAITS", "1")
    first = process_of(module)
    with pytest.raises(ConfigError):
        worker.call(module, {"do": "refuse"}, dict, lambda d, t, n="": None, tmp_path / "log")
    assert process_of(module) == first and "chatter" in (tmp_path / "log").read_text()
    monkeypatch.setenv("WAITS", "2")
    second = process_of(module)
    assert second != first and not alive(first), "it has another environment, and its memory may be needed"
    with pytest.raises(WorkerFailed):
        worker.call(module, {"do": "die"}, dict, lambda d, t, n="": None)
    assert process_of(module) != second
    worker.stop_all()


@pytest.mark.parametrize(("do", "reason"), [("raise", "the very reason"), ("die", "out of memory")])
def test_a_failure_says_why_and_where_the_log_is(module: str, tmp_path: Path, do: str, reason: str) -> None:
    with pytest.raises(WorkerFailed, match=reason) as error:
        worker.call(module, {"do": do}, dict, lambda d, t, n="": None, tmp_path / "log")
    assert str(tmp_path / "log") in str(error.value)


def test_an_error_of_ours_is_raised_by_the_parent_as_it_was(module: str) -> None:
    with pytest.raises(ConfigError) as error:
        worker.call(module, {"do": "refuse"}, dict, lambda d, t, n="": None)
    assert error.value.problems == ["one", "two"]
    with pytest.raises(DatasetError, match="^no row: ü$"):
        worker.call(module, {"do": "lack"}, dict, lambda d, t, n="": None)


def test_a_module_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match="No module named"):
        worker.call("no_such_worker", {}, dict, lambda d, t, n="": None, tmp_path / "log")


def test_a_worker_ends_when_its_parent_is_killed(module: str, tmp_path: Path, root: Path) -> None:
    mark = tmp_path / "pid"
    program = (
        f"from pathlib import Path; from understudy import worker\n"
        f"worker.call('{module}', {{'do': 'wait', 'mark': '{mark}'}}, dict, lambda *a: None, Path('{tmp_path}/log'))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=root)
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pid, until = int(mark.read_text()), time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)
