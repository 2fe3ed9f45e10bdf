"""
What deploy.py started on this machine, written down so that undeploy.py ends that and nothing else.

A process is known by its number and when it was born: the number alone may belong to another one by then.
"""

import contextlib
import json
import os
import shutil
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
    """One process that was started here."""

    pid: int
    born: str


@dataclass
class Running:
    """Everything deploy.py left behind; `channels` maps a channel to the preset file it was deployed from."""

    api: str = ""
    server: Process | None = None
    worker: Process | None = None
    pool: str | None = None
    channels: dict[str, str] = field(default_factory=dict)


def load(state: Path) -> Running:
    """What is written down in the folder `state`; nothing when there is no file, or none that can be read."""
    try:
        told = json.loads((state / FILE).read_text(encoding="utf-8"))
        for name in ("server", "worker"):
            told[name] = Process(**told[name]) if told[name] else None
        return Running(**told)
    except (OSError, ValueError, TypeError, KeyError):
        return Running()


def save(state: Path, running: Running) -> None:
    """Write it down, whole or not at all."""
    temporary = state / f".{FILE}.tmp"
    temporary.write_text(json.dumps(asdict(running), indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, state / FILE)


def start(command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path) -> Process:
    """Start a process that outlives this shell; what it says goes to `log`."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    return Process(child.pid, _born(child.pid) or "")


def alive(process: Process | None) -> bool:
    """True while exactly this process runs."""
    return process is not None and bool(process.born) and _born(process.pid) == process.born


def stop(process: Process | None) -> bool:
    """End it, gently and then not; False when it was gone already."""
    if process is None or not alive(process):
        return False
    os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while alive(process):
        if time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    return True


def listener(port: int) -> str:
    """Who listens on a port of this machine, as far as the system tells."""
    if tool := shutil.which("lsof"):
        told = subprocess.run(
            [tool, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], capture_output=True, text=True
        ).stdout.split()
        found = {line[0]: line[1:] for line in told}
        if "p" in found:
            return f"{found.get('c', 'a program')} (process {found['p']})"
    return "another program"


def _born(pid: int) -> str | None:
    """When a process was born, as the system counts it; None when there is none, or it only waits to be buried."""
    with contextlib.suppress(OSError):  # Linux; `ps` there gives times that move by a second now and then
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if told[0] in "ZX" else f"tick {told[19]}"
    command, calm = ["ps", "-o", "stat=,lstart=", "-p", str(pid)], dict(os.environ) | {"TZ": "UTC", "LC_ALL": "C"}
    words = subprocess.run(command, capture_output=True, text=True, env=calm).stdout.split()
    return " ".join(words[1:]) if words and not words[0].startswith("Z") else None
