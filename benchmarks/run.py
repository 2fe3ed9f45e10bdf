"""The whole way: how long the demo takes, whether a second run writes anything, what a kill loses."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
MAIN = [sys.executable, str(ROOT / "flows" / "main.py"), "--preset", "tiny"]
KILLS = 10
REAL = [Path(p) for p in os.environ.get("UNDERSTUDY_REAL_INPUT", "").split(os.pathsep) if p]
DATASET = ("pairs.parquet", "train.jsonl", "valid.jsonl", "test.jsonl")


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about fifteen minutes, most of it the ten kills."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        os.environ["PREFECT_HOME"] = f"{folder}/prefect"
        yield from _imports()
        home = Path(folder) / "home"
        yield from _demo(home)
        yield from _kills(home, Path(folder) / "killed")
        yield from _real_input(Path(folder) / "real")


def _imports() -> Iterator[Figure]:
    program = (
        "import time, sys; t = time.perf_counter(); import understudy, understudy.workspace; "
        "print(time.perf_counter() - t, sum(m in sys.modules for m in ('prefect', 'mlx')))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        for _ in range(5)
    ]
    seconds, loaded = zip(*(map(float, run.stdout.split()) for run in runs), strict=True)
    yield Figure("import_seconds", sorted(seconds)[2], "<=", 0.5)
    yield Figure("backends_loaded_by_import", max(loaded), "=", 0)
    began = time.perf_counter()
    subprocess.run([*MAIN, "--help"], capture_output=True, check=True)
    yield Figure("help_seconds", time.perf_counter() - began, "<=", 1.5)


def _demo(home: Path) -> Iterator[Figure]:
    with _watched() as peak_bytes:
        seconds, result = _run("--home", str(home))
    yield Figure("demo_seconds", seconds, "<=", 240)
    yield Figure("demo_peak_gb_of_all_processes", max(peak_bytes) / 1e9, "<=", 2)
    before = _files(home)
    seconds, _ = _run("--home", str(home))
    yield Figure("second_run_seconds", seconds, "<=", 30)
    yield Figure("second_run_files_rewritten", len(set(_files(home).items()) ^ set(before.items())), "=", 0)
    loss = result["differences"]["nll_per_token"]
    yield Figure("tuned_minus_base_nll", loss["value"])
    yield Figure("tuned_minus_base_nll_high_end", loss["high"], "<", 0)
    form = result["differences"]["well_formatted"]
    yield Figure("tuned_minus_base_well_formatted", form["value"], ">", 0)
    yield Figure("tuned_minus_base_well_formatted_low_end", form["low"])


def _kills(straight: Path, home: Path) -> Iterator[Figure]:
    """Kill the demo at random moments, each time in the same home; then let it end."""
    dice, leftovers = random.Random(7), 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*MAIN, "--home", str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(dice.uniform(2, 45))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _run("--home", str(home))
    same = [
        (home / "data/sample/dataset" / name).read_bytes() == (straight / "data/sample/dataset" / name).read_bytes()
        for name in DATASET
    ]
    leftovers = sum(1 for f in home.rglob("*") if f.name.endswith((".tmp", ".partial", ".old")))
    yield Figure("kills", KILLS)
    yield Figure("dataset_files_identical_after_kills", sum(same), "=", len(DATASET))
    yield Figure("leftovers_after_kills", leftovers, "=", 0)


def _real_input(home: Path) -> Iterator[Figure]:
    """Folders named in UNDERSTUDY_REAL_INPUT, each run whole."""
    for folder in REAL:
        shutil.rmtree(home, ignore_errors=True)
        seconds, result = _run("--documents", str(folder), "--home", str(home), "--base", "scratch")
        yield Figure(f"real_{folder.name}_seconds", seconds)
        yield Figure(f"real_{folder.name}_nll_difference", result["differences"]["nll_per_token"]["value"])


@contextmanager
def _watched() -> Iterator[list[int]]:
    """The resident memory of everything this process started, added up twice a second."""
    sums, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            listed = subprocess.run(["ps", "-eo", "pid=,ppid=,rss="], capture_output=True, text=True).stdout
            rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
            mine = {os.getpid()}
            for pid, parent, _ in sorted(rows):
                if parent in mine:
                    mine.add(pid)
            sums.append(sum(rss * 1024 for pid, _, rss in rows if pid in mine and pid != os.getpid()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sums
    finally:
        done.set()
        thread.join()


def _run(*flags: str) -> tuple[float, dict]:
    began = time.perf_counter()
    done = subprocess.run([*MAIN, *flags, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(flags)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - began, json.loads(done.stdout.splitlines()[-1])


def _files(home: Path) -> dict[str, tuple[int, str]]:
    return {
        str(f): (f.stat().st_mtime_ns, hashlib.sha256(f.read_bytes()).hexdigest())
        for top in ("data", "models")
        for f in (home / top).rglob("*")
        if f.is_file() and not f.name.endswith(("-wal", "-shm", ".lock"))
    }
