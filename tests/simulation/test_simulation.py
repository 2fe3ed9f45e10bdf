"""Forty histories of a channel, and that one seed gives one history."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = 40

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each simulated process is a fork")


def played(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_no_history_breaks_a_law() -> None:
    done = played("0", str(HISTORIES))
    assert done.stdout == f"{HISTORIES} histories, 0 broken laws\n", done.stdout + done.stderr[-2000:]


def test_a_seed_gives_the_same_history_step_by_step() -> None:
    first, again = played("-v", "11"), played("-v", "11")
    assert first.stdout == again.stdout and first.stdout.count("\n") > 100, first.stderr[-2000:]
    assert first.returncode == 0
