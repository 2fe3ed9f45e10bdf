"""What all tests share: a RAM disk for their files, no socket that leaves this machine, and where the checkout is."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = ("127.", "::1", "localhost")
RAM_DISK = Path("/dev/shm")
LEAST_FREE_BYTES = 4 * 1000**3


def pytest_configure(config: pytest.Config) -> None:
    """Put temporary files on a RAM disk where there is one: most of the time of many tests goes into syncing files.

    And never look for a language model on this machine, or at this user's deployments. Test workers that share its
    cores get their share of threads: with more, OpenBLAS waits busily for cores that another worker has, and a training
    takes twice as long.
    """
    os.environ["UNDERSTUDY_LOCAL_SERVERS"] = ""
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="understudy-state-")  # no deployment of this user's
    if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
    if "TMPDIR" in os.environ or config.option.basetemp or not os.access(RAM_DISK, os.W_OK):
        return
    if shutil.disk_usage(RAM_DISK).free >= LEAST_FREE_BYTES:
        os.environ["TMPDIR"] = str(RAM_DISK)  # for the processes that tests start, too
        tempfile.tempdir = None


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """Refuse every connection that is not to this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise PermissionError(f"a test tried to reach {address}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
