"""What tests do to a machine: start the command line and a real Prefect server, look at processes, and kill them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.flows.conftest import ROOT, prefect_home

PATIENCE_SECONDS = 120.0
LISTENING, CLOSING = "0A", {"06", "07", "08"}
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def until(true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def clean(**more: str) -> dict[str, str]:
    """This environment without Prefect's settings of other tests, but for where its database is."""
    kept = {key: value for key, value in os.environ.items() if key == "PREFECT_HOME" or not key.startswith("PREFECT_")}
    return kept | {"DO_NOT_TRACK": "1"} | more


def started(home: Path, *flags: str, environment: Mapping[str, str], folder: Path = ROOT) -> subprocess.Popen[str]:
    """`python flows/main.py` in a session of its own; what it says goes to a file beside `home`."""
    out = home.with_name(f"{home.name}.out").open("a+")
    with out:
        return subprocess.Popen(
            [sys.executable, str(folder / "flows/main.py"), "--home", str(home), *flags],
            cwd=folder, env=dict(environment), stdout=out, stderr=out, text=True, start_new_session=True,
        )  # fmt: skip


def output_of(home: Path) -> str:
    """What the runs of `started` wrote to the terminal."""
    return home.with_name(f"{home.name}.out").read_text()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill -9 the process and everything in its session that stayed there."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environ(pid: int) -> str:
    """The environment of a process; empty when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return ""


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """(number, command line) of every process below `pid`."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
    family = {pid}
    for child in sorted(parents):
        if parents[child] in family:
            family.add(child)
            with suppress(OSError):
                yield child, Path(f"/proc/{child}/cmdline").read_text(errors="replace").replace("\0", " ")


def worker_of(process: subprocess.Popen[str], module: str) -> int | None:
    """The number of the worker process that runs `module`."""
    return next((pid for pid, command in descendants(process.pid) if "-P" in command and module in command), None)


def beyond_loopback(pids: set[int]) -> set[str]:
    """Sockets of these processes that listen or talk beyond this machine, 'local > remote' as /proc tells them."""
    mine = set()
    for pid in pids:
        with suppress(OSError):
            mine |= {os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir() if f.is_symlink()}
    sockets = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, state, *_, inode = line.split()[:10]
            if f"socket:[{inode}]" not in mine or state in CLOSING:
                continue
            side = local if state == LISTENING or not remote.strip("0:") else remote
            if side.split(":")[0] not in LOOPBACK:
                sockets.add(f"{table} {local} > {remote} ({state})")
    return sockets


class PrefectServer:
    """A real server on a database that outlives it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = clean(PREFECT_HOME=str(folder), PREFECT_API_URL=f"http://127.0.0.1:{self.port}/api")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = clean(PREFECT_HOME=str(self.home))
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (prefect_home(self.home) / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
            )
        until(self.answers)

    def answers(self) -> bool:
        """Whether it is ready."""
        assert self.process and self.process.poll() is None, (self.home / "server.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """Kill -9."""
        if self.process:
            kill(self.process)
