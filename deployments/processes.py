"""
Processes that `understudy deploy` started on this machine, recorded so that `understudy undeploy` stops only them.

A process is known by its number and its start time: the number alone may be reused.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "running.json"
STOP_SECONDS = 20.0


@dataclass
class Process:
    """One process that was started here; `born` is its start time in the system's own unit."""

    pid: int
    born: str


@dataclass
class Running:
    """Everything that `deploy` started or created; `channels` maps a channel to the file of its preset."""

    api: str = ""
    server: Process | None = None
    worker: Process | None = None
    pool: str | None = None
    training_pools: list[str] = field(default_factory=list)
    channels: dict[str, str] = field(default_factory=dict)


def folder(home: Path) -> Path:
    """The folder of the record, the logs and Prefect's database."""
    return home / "data" / ".prefect"


def load(state: Path) -> Running:
    """What is recorded in the folder `state`; empty when there is no readable file."""
    try:
        fields = json.loads((state / FILE).read_text(encoding="utf-8"))
        for name in ("server", "worker"):
            fields[name] = Process(**fields[name]) if fields[name] else None
        return Running(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return Running()


def save(state: Path, running: Running) -> None:
    """Write the record atomically."""
    temporary = state / f".{FILE}.tmp"
    temporary.write_text(json.dumps(asdict(running), indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, state / FILE)


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Start a process in the current folder that outlives this shell; its output goes to `log`."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(environment), start_new_session=True
        )
    return Process(child.pid, _born(child.pid) or "")


def alive(process: Process | None) -> bool:
    """True while exactly this process runs."""
    return process is not None and bool(process.born) and _born(process.pid) == process.born


def stop(process: Process | None) -> bool:
    """Terminate it, and kill it when that takes too long; False when it had already ended."""
    if process is None or not alive(process):
        return False
    os.kill(process.pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while alive(process):
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else os.kill(process.pid, signal.SIGTERM)
            break
        time.sleep(0.1)
    return True


def _born(pid: int) -> str | None:
    """When a process started, as the system counts it; None when there is none, or it is a zombie."""
    with contextlib.suppress(OSError):  # Linux; `ps` there sometimes gives times that are off by a second
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"tick {fields[19]}"
    command, environment = ["ps", "-o", "stat=,lstart=", "-p", str(pid)], {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    words = subprocess.run(command, capture_output=True, text=True, env=environment).stdout.split()
    return " ".join(words[1:]) if words and not words[0].startswith("Z") else None
