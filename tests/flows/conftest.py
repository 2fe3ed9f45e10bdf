"""One Prefect server for all flow tests, in a home of its own, and a preset small enough for seconds."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.youtube_server import youtube  # noqa: F401  # a fixture
from understudy import locks

ROOT = Path(__file__).resolve().parents[2]
MIGRATE = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]


def prefect_home(folder: Path, database: str = "prefect.db") -> Path:
    """`folder` with a database in it that is migrated already: Prefect takes a quarter of a minute for a new one."""
    ready = Path(tempfile.gettempdir()) / f"understudy-prefect-{version('prefect')}-{os.getuid()}.db"
    with open(f"{ready}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            with tempfile.TemporaryDirectory() as new:
                environment = os.environ | {"PREFECT_HOME": new, "DO_NOT_TRACK": "1"}
                subprocess.run(MIGRATE, env=environment, check=True, capture_output=True)
                shutil.copy(f"{new}/prefect.db", f"{ready}.new")
                os.replace(f"{ready}.new", ready)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / database).exists():
        shutil.copy(ready, folder / database)
    return folder


# Before Prefect is imported: neither its database nor its result cache may be the user's.
os.environ["PREFECT_HOME"] = str(prefect_home(Path(tempfile.mkdtemp(prefix="understudy-prefect-"))))
os.environ["DO_NOT_TRACK"] = "1"
locks.MACHINE = Path(os.environ["PREFECT_HOME"])  # no test waits while somebody trains on this machine
os.chdir(ROOT)

TINY: dict[str, Any] = {
    "base": {"use": "scratch", "steps": 2, "layers": 1, "vocabulary": 400, "context": 512},
    "trainer": {"use": "mlx_lora", "epochs": 0.1, "evaluations_per_epoch": 1},
    "export.types": ["Q8_0"],
    "evaluate.questions": 2,
    "evaluate.max_tokens": 12,
    "evaluate.suites": "quick",
}
LEAN = TINY | {"evaluate.suites": False, "evaluate.prompted_base": False, "evaluate.quantized_base": False}
"""For flows whose scorecard is not what the test is about: only the fair comparison of base and tuned."""
LEAN_FLAGS = [
    flag
    for change in (
        "base={use: scratch, steps: 2, layers: 1, vocabulary: 400, context: 512}",
        "trainer={use: mlx_lora, epochs: 0.1, evaluations_per_epoch: 1}",
        "export.types=[]",
        "evaluate={questions: 2, max_tokens: 12, suites: false, prompted_base: false, quantized_base: false}",
    )
    for flag in ("--set", change)
]


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """A temporary server, and its address; flows that run in this process use it."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch:
        folder = prefect_home(Path(tempfile.mkdtemp(prefix="understudy-prefect-")), "prefect-test.db")
        patch.setattr("prefect.testing.utilities.mkdtemp", lambda: str(folder))
        with prefect_test_harness(server_startup_timeout=120):
            yield SubprocessASGIServer._instances[None].api_url


def files_under(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change and its bytes; SQLite's side files come and go."""
    return {
        f.relative_to(folder).as_posix(): (f.stat().st_mtime_ns, f.read_bytes())
        for top in ("data", "models")
        for f in sorted((folder / top).rglob("*"))
        if f.is_file() and not f.name.endswith(("-wal", "-shm", ".lock"))
    }


def holding(folder: Path, words: bytes) -> list[Path]:
    """The files under `folder` that hold `words`; what goes away while we look, as a database's own do, does not."""
    files = []
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError, IsADirectoryError):
            if words in file.read_bytes():
                files.append(file)
    return files
