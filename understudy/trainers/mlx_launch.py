"""
The worker that starts one rank of the training on each host with mlx's own launcher, in this process.

The launcher hands its input to every rank and prints what they print. Started as a process of its own it goes on
when its input ends; here it ends with the parent, its pipes close, and every rank reads the end of its own input.
The job is the trainer's, with the launcher's arguments as `launch`. Rank 0 alone says anything on standard output.
"""

import ipaddress
import json
import os
import re
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import ConfigError, WorkerFailed

MODULE = "understudy.trainers.mlx_lora_worker"
GRACE_SECONDS, PACE_SECONDS = 2.0, 0.05
LOCAL = ("127.0.0.1", "localhost")
RANKS = (2, 64)
_DEATH = re.compile(r"Node with rank (\d+) exited with code (-?\d+)")


class Hosts(NamedTuple):
    """Where the ranks run, rank 0 first, and what tells the launcher so."""

    names: list[str]
    arguments: list[str]


def hosts(options: dict[str, Any]) -> Hosts | None:
    """The ranks that are asked for; None where one process is enough. Raises ConfigError."""
    names, file = options["hosts"] or [], options["hostfile"]
    if file:
        names, told = _read(Path(file)), ["--hostfile", file]
    else:
        told = ["--hosts", ",".join(names)]
    if len(names) < RANKS[0]:
        return None
    if len(names) > RANKS[1]:
        raise ConfigError([f"trainer.hosts: {len(names)} ranks are too many; give at most {RANKS[1]}"])
    return Hosts(names, told)


def is_address(name: str) -> bool:
    """Whether `name` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def told(error: WorkerFailed, log: Path, group: Hosts) -> WorkerFailed:
    """The rank that ended first, in one sentence, where the launcher's words in the log say which."""
    found = _DEATH.search(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else None
    if found is None:
        return error
    rank, code = int(found[1]), int(found[2])
    why = "was killed, most likely for want of memory" if code == -signal.SIGKILL else f"ended with exit code {code}"
    return WorkerFailed(
        f"rank {rank} of {len(group.names)} (on {group.names[rank]}) {why}, and the others with it; run again and "
        f"training goes on from its checkpoint; the whole log: {log}"
    )


def arguments(group: Hosts, backend: str) -> list[str]:
    """What the launcher is told."""
    here = sum(name in LOCAL for name in group.names)
    threads = max(1, (os.cpu_count() or 1) // max(1, here))
    known = ("PYTHONPATH", "TOKENIZERS_PARALLELISM")
    environment = {name: os.environ[name] for name in known if name in os.environ}
    environment["OPENBLAS_NUM_THREADS"] = str(threads)
    told = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    how = ["--mpi-arg", "--stdin all"]  # mpirun gives its input to the first rank alone otherwise
    if backend == "ring":
        how = ["--starting-port", str(_free_ports(len(group.names)))]
    return [*group.arguments, "--backend", backend, *how, *told, "--", sys.executable, "-m", MODULE]


def _read(file: Path) -> list[str]:
    """The names in a hostfile of mlx. Raises ConfigError."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        return [host["ssh"] for host in (held["hosts"] if isinstance(held, dict) else held)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            [
                f"trainer.hostfile: {file} is no hostfile of mlx ({error}); it is a JSON list of "
                '{"ssh": name, "ips": [address]}'
            ]
        ) from None


def _free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that are free on this machine."""
    for first in range(32323, 60000, count):
        taken: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                taken.append(socket.socket())
                taken[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in taken:
                each.close()
    raise ConfigError([f"trainer.hosts: no {count} neighbouring ports are free on 127.0.0.1"])


class _Told:
    """Standard output that ends this process a moment after rank 0 has told its result.

    The launcher would wait for ranks that wait for a rank that is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self.buffer, self.descriptor, self.rest, self.ended = self, descriptor, b"", False

    def fileno(self) -> int:
        """The real standard output."""
        return self.descriptor

    def write(self, data: bytes) -> int:
        """Pass everything on, and look for the line that is the result."""
        left = data
        while left:
            left = left[os.write(self.descriptor, left) :]
        *lines, self.rest = (self.rest + data).split(b"\n")
        if not self.ended and any(line.startswith(b'{"result"') for line in lines):
            self.ended = True
            threading.Timer(GRACE_SECONDS, os._exit, [0]).start()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _relay(source: int, target: int) -> None:
    """Pass on what comes; end with the parent, and every rank with this process."""
    while data := os.read(source, 65536):
        os.write(target, data)
    os._exit(1)


def _paced(readers: list[int], writers: list[int], errors: list[int], seconds: float) -> tuple[list[int], ...]:
    """`select` that waits for something to read only.

    The launcher (mlx 0.32.4) asks whether it may write even when it has nothing to, which is always so: each rank
    took a core of its own for waiting.
    """
    ready, _, wrong = select.select(readers, [], errors, min(seconds, PACE_SECONDS))
    return ready, writers, wrong


def main() -> int:
    """Launch the ranks of the job on standard input and wait; 1 when no result was told."""
    from mlx._distributed_utils import launch

    ours, (ends, begins) = os.dup(0), os.pipe()
    job = b""
    while not job.endswith(b"\n"):
        if not (byte := os.read(ours, 1)):
            return 1
        job += byte
    os.dup2(ends, 0)
    os.write(begins, job)
    threading.Thread(target=_relay, args=(ours, begins), daemon=True).start()
    told = _Told(os.dup(1))
    launch.select, sys.stdout = _paced, told  # type: ignore[assignment]
    sys.argv = ["mlx.launch", *json.loads(job)["launch"]]
    launch.main()
    return 0 if told.ended else 1


if __name__ == "__main__":
    os._exit(main())
