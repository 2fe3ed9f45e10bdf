"""One holder at a time; the second is told who holds it; a dead holder holds nothing."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from understudy import locks
from understudy.errors import Busy

HOLD = (
    "import sys, pathlib; from understudy import locks\n"
    "with locks.held(pathlib.Path(sys.argv[1]), 'x'):\n    print('held', flush=True); sys.stdin.read()"
)


def test_the_second_is_told_who_holds_it_and_a_kill_frees_it(tmp_path: Path, root: Path) -> None:
    file = tmp_path / ".lock"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    )
    try:
        assert first.stdout and first.stdout.readline() == b"held\n"
        assert f"process {first.pid}" in (locks.holder(file) or "")
        with pytest.raises(Busy, match=f"process {first.pid}"), locks.held(file, "data/x"):
            pass
    finally:
        first.kill()
        first.communicate()
    assert locks.holder(file) is None
    with locks.held(file, "data/x"), locks.held(file, "data/x"):
        pass


def test_who_waits_to_train_says_so_once_and_for_whom(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "MACHINE", tmp_path)
    file = tmp_path / f"understudy-training-{os.getuid()}.lock"
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as first:
        assert first.stdin and first.stdout and first.stdout.readline() == b"held\n"
        let_go = first.stdin.close

        class LetGo(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                let_go()

        handler = LetGo()
        locks.log.addHandler(handler)
        try:
            with locks.only_training():
                pass
        finally:
            locks.log.removeHandler(handler)
    [message] = caplog.messages
    assert message.startswith("training on this machine is in use by process") and message.endswith("; waiting")


def test_a_long_wait_is_said_again_with_who_holds_it(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, messages = tmp_path / ".lock", []
    monkeypatch.setattr(locks, "SAID_AGAIN_SECONDS", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    ) as first:
        assert first.stdin and first.stdout and first.stdout.readline() == b"held\n"

        def waiting(message: str) -> None:
            messages.append(message)
            if len(messages) == 3 and first.stdin:
                first.stdin.close()

        with locks.held(file, "data/x", 60, waiting):
            pass
    assert len(messages) >= 3 and all(f"data/x is in use by process {first.pid} on" in one for one in messages)
    assert "so far" not in messages[0] and "s so far" in messages[1]


def test_a_free_lock_is_held_by_nobody(tmp_path: Path) -> None:
    assert locks.holder(tmp_path / "never") is None


SLOT = (
    "import sys, pathlib; from understudy import locks\n"
    "locks.MACHINE = pathlib.Path(sys.argv[1])\n"
    "with locks.slot('teacher', 2, 0):\n    print('held', flush=True); sys.stdin.read()"
)


def test_slots_are_shared_by_processes_and_a_kill_gives_one_back(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MACHINE", tmp_path)
    command, pipes = [sys.executable, "-c", SLOT, str(tmp_path)], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holders = [subprocess.Popen(command, **pipes, cwd=root) for _ in range(2)]
    try:
        for holder in holders:
            assert holder.stdout and holder.stdout.readline() == b"held\n"
        waits: list[str] = []
        message = "2 other runs on this machine hold all slots of 'teacher'"
        with pytest.raises(Busy, match=message), locks.slot("teacher", 2, 0.5, waits.append):
            pass
        assert len(waits) == 1
        holders[0].kill()
        holders[0].wait()
        with locks.slot("teacher", 2, 30):
            assert subprocess.run(command, capture_output=True, cwd=root).returncode == 1, "both are taken again"
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_two_flows_of_one_process_take_a_slot_each_and_what_fails_inside_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MACHINE", tmp_path)
    with locks.slot("teacher", 2, 0), locks.slot("teacher", 2, 0), pytest.raises(Busy), locks.slot("teacher", 2, 0):
        pass
    with pytest.raises(Busy, match="inside"), locks.slot("teacher", 2, 0):
        raise Busy("inside")
    with locks.slot("teacher", 2, 0):
        pass
