"""
Processes that `understudy deploy` started on this machine, recorded so that `understudy undeploy` stops only them.

A process is known by its number and its start time: the number alone may be reused.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from understudy import locks
from understudy.channel import home as homes

FILE = homes.DEPLOYED.name
VARIABLES = re.compile(r"^(PREFECT|UNDERSTUDY|HF|OLLAMA)_|_(API_)?KEY$|_TOKEN$|^\w+_proxy$", re.IGNORECASE)
"""The variables that change what a server or a worker does: another shell has other ones of the rest every day."""
STOP_SECONDS = 20.0


@dataclass
class Process:
    """One process that was started here; `born` is its start time in the system's own unit."""

    pid: int
    born: str
    made_with: dict[str, str] = field(default_factory=dict)
    """What it was started with, by name: another one takes its place where that changes. Of variables a digest."""


@dataclass
class Channel:
    """How a channel was deployed, so that it can be deployed in the same way again."""

    preset: str
    folder: str
    """Where relative paths of the preset start."""
    cron: str
    timezone: str


@dataclass
class Running:
    """Everything that `deploy` started or created, and how."""

    api: str = ""
    server: Process | None = None
    worker: Process | None = None
    watch: Process | None = None
    port: int = 4200
    pool: str = "understudy"
    pool_is_ours: bool = False
    training_pools: list[str] = field(default_factory=list)
    """Made here, for workers on other machines."""
    notify: str | None = None
    channels: dict[str, Channel] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """Channels whose deployments are still on the server, which was down when they were to be removed."""


def folder(home: Path) -> Path:
    """The folder of the record, the logs and Prefect's database."""
    return (home / homes.DEPLOYED).parent


def load(state: Path) -> Running:
    """What is recorded in the folder `state`; empty when there is no readable file."""
    try:
        fields = json.loads((state / FILE).read_text(encoding="utf-8"))
        for name in ("server", "worker", "watch"):
            fields[name] = Process(**fields[name]) if fields[name] else None
        fields["channels"] = {name: Channel(**channel) for name, channel in fields["channels"].items()}
        return Running(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Running()


def save(state: Path, running: Running) -> None:
    """Write the record atomically."""
    _replace(state / FILE, asdict(running))


def note_home(home: Path, deployed: bool) -> None:
    """Add a home to the list of deployed homes, or take it away."""
    known = [other for other in homes.deployed() if other != home]
    with contextlib.suppress(OSError):  # without it, --home must be named again
        _homes_file().parent.mkdir(parents=True, exist_ok=True)
        _replace(_homes_file(), [str(one) for one in [*known, *([home] if deployed else [])]])


def _homes_file() -> Path:
    return locks.state() / homes.HOMES


def _replace(file: Path, content: object) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, file)


def made_with(environment: Mapping[str, str], **more: str) -> dict[str, str]:
    """What a process of ours depends on: the program, its version, and the variables that change what it does."""
    variables = {
        name: hashlib.sha256(value.encode()).hexdigest()[:12]
        for name, value in environment.items()
        if VARIABLES.search(name)
    }
    versions = {name: metadata.version(name) for name in ("understudy", "prefect")}
    return {"python": sys.executable, **versions, **variables, **more}


def differences(process: Process, wanted: Mapping[str, str]) -> list[str]:
    """The names of what `process` was not started with."""
    return sorted({name for name, _ in process.made_with.items() ^ wanted.items()})


def start(command: Sequence[str], log: Path, environment: Mapping[str, str], **more: str) -> Process:
    """Start a process in the current folder that outlives this shell; its output is added to `log`."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(environment), start_new_session=True
        )
    return Process(child.pid, _born(child.pid) or "", made_with(environment, **more))


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


def memory_bytes(pid: int) -> int | None:
    """The memory that a process takes; None when it is gone."""
    with contextlib.suppress(OSError):  # Linux
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    size = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return int(size) * 1024 if size else None


def _born(pid: int) -> str | None:
    """When a process started, as the system counts it; None when there is none, or it is a zombie."""
    with contextlib.suppress(OSError):  # Linux; `ps` there sometimes gives times that are off by a second
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"tick {fields[19]}"
    command, environment = ["ps", "-o", "stat=,lstart=", "-p", str(pid)], {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    words = subprocess.run(command, capture_output=True, text=True, env=environment).stdout.split()
    return " ".join(words[1:]) if words and not words[0].startswith("Z") else None
