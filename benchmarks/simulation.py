"""Planted bugs: how many of them the simulator finds, and how long a history takes."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
MOST_SEEDS, TIMED = 100, 40


class Bug(NamedTuple):
    """A change to one file of the package."""

    name: str
    file: str
    right: str
    wrong: str


BUGS = [
    Bug("manifest_first", "store.py",
        "        replace(target, data, disk, sync_folder=False)  # the manifest's sync keeps both names, "
        "in this order\n"
        "        replace(manifest, Manifest(fingerprint=fingerprint, asset=ref).model_dump_json().encode(), disk)\n",
        "        replace(manifest, Manifest(fingerprint=fingerprint, asset=ref).model_dump_json().encode(), disk)\n"
        "        replace(target, data, disk, sync_folder=False)\n"),
    Bug("content_not_synced", "store.py", "    disk.fsync(temporary)\n    disk.replace(temporary, target)\n    if sync",
        "    disk.replace(temporary, target)\n    if sync"),
    Bug("budget_not_looked_at", "calls/ledger.py", "limit = most.usd + ROUNDING_USD if most else math.inf",
        "limit = math.inf"),
    Bug("refund_forgotten", "calls/ledger.py", "reserved, price - spent)", "0.0, price - spent)"),
    Bug("free_failure_counted", "calls/ledger.py", "self._settle(call, attempt, 0.0, state=\"failed\")\n",
        "self._settle(call, attempt, None, state=\"failed\")\n"),
    Bug("abandoned_calls_stay", "calls/model_teacher.py", "        self._ledger.settle_abandoned()\n", ""),
    Bug("reply_asked_again", "calls/ledger.py", "        if not rows:\n            return None\n        text, finish",
        "        if not rows or len(rows[0][0]) % 3 == 0:\n            return None\n        text, finish"),
    Bug("reply_not_kept", "calls/scheduler.py",
        "                self._ledger.keep(call, attempt, reply, self.usd_of(call, reply))\n",
        "                if call.kind == \"questions\":\n"
        "                    self._ledger.keep(call, attempt, reply, self.usd_of(call, reply))\n"),
    Bug("answers_by_number_alone", "calls/model_teacher.py",
        "call.numbers, _asked(request, group, stored))", "call.numbers)"),
    Bug("retry_lost", "calls/scheduler.py", "call_later(wait, self._make_ready, ask)",
        "call_later(wait, self._make_ready, ask) if ask.limited < 2 else None"),
    Bug("split_not_frozen", "stages/split.py",
        "    frozen: SplitPlan | None = node.workspace.read(before) if before else None\n",
        "    frozen: SplitPlan | None = None\n"),
    Bug("forget_leaves_replies", "channel/forgetting.py", "        call_ledger.forget(ids)\n", ""),
    Bug("forget_frees_the_split", "channel/forgetting.py", "    if plan is None:\n", "    if plan or plan is None:\n"),
    Bug("half_a_talk_is_ready", "store.py",
        "        if not file.is_file() or file.stat().st_size != size:\n", "        if not file.exists():\n"),
]  # fmt: skip


def figures() -> Iterator[Figure]:
    """Seconds a history, then for each planted bug the histories it took to find it; 0 where it was not found."""
    began = time.monotonic()
    broken = _played(ROOT, 1)
    start = time.monotonic() - began
    began = time.monotonic()
    broken += _played(ROOT, TIMED)
    yield Figure("broken_laws", len(broken), "=", 0)
    yield Figure("seconds_per_history", (time.monotonic() - began - start) / (TIMED - 1), "<=", 0.12)
    found = 0
    for bug in BUGS:
        with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
            for part in ("understudy", "tests", "tasks", "flows", "deployments"):
                shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
            file = Path(folder) / "understudy" / bug.file
            text = file.read_text(encoding="utf-8")
            if text.count(bug.right) != 1:
                raise SystemExit(f"{bug.name}: its line is not in {bug.file} once")
            file.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
            lines = _played(Path(folder), MOST_SEEDS, "--first")
        seeds = int(lines[0].split()[1].rstrip(",")) + 1 if lines else 0
        found += bool(lines)
        print(f"{bug.name}: {lines[0] if lines else 'not found'}", file=sys.stderr, flush=True)
        yield Figure(f"{bug.name}_histories", seeds)
    yield Figure("planted_bugs_found_share", found / len(BUGS), "=", 1)


def _played(folder: Path, end: int, *more: str) -> list[str]:
    """The laws that were broken, a line each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "0", str(end), *more],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and not done.stdout:
        raise SystemExit(f"the simulator ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return [line for line in done.stdout.splitlines() if line.startswith("seed ")]
