"""
The worker that starts one process of the training on each host with mlx's own launcher, inside itself.

The launcher passes its input to every process and prints what they print. Run as a program of its own it continues
when its input ends; here it ends with the parent, its pipes close, and every process reads the end of its own input.
Process 0 (mlx's rank 0) alone writes to standard output.
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
from typing import NamedTuple

from understudy.errors import ConfigError, WorkerFailed
from understudy.trainers.lora_job import LOCAL, Job, LoraOptions

MODULE = "understudy.trainers.mlx_lora_worker"
GRACE_SECONDS, PACE_SECONDS = 2.0, 0.05
PROCESSES = (2, 64)
_DEATH = re.compile(r"Node with rank (\d+) exited with code (-?\d+)")


class Hosts(NamedTuple):
    """Where the processes run, the first one first, and the launcher's arguments for that."""

    names: list[str]
    arguments: list[str]


def hosts(options: LoraOptions) -> Hosts | None:
    """The hosts of the options; None where one process is enough. Raises ConfigError."""
    names, arguments = options.hosts or [], ["--hosts", ",".join(options.hosts or [])]
    if options.hostfile:
        names, arguments = _read(Path(options.hostfile)), ["--hostfile", options.hostfile]
    if len(names) < PROCESSES[0]:
        return None
    if len(names) > PROCESSES[1]:
        raise ConfigError([f"trainer.hosts: {len(names)} processes are too many; give at most {PROCESSES[1]}"])
    return Hosts(names, arguments)


def is_address(name: str) -> bool:
    """Whether `name` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def explain(error: WorkerFailed, log: Path, group: Hosts) -> WorkerFailed:
    """The error in one sentence that names the process that ended first, where the launcher's log does."""
    match = _DEATH.search(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else None
    if match is None:
        return error
    index, code = int(match[1]), int(match[2])
    why = "was killed, most likely out of memory" if code == -signal.SIGKILL else f"ended with exit code {code}"
    return WorkerFailed(
        f"process {index} of {len(group.names)} (on {group.names[index]}) {why}, and the others with it; run again and "
        f"training resumes from its checkpoint; the whole log: {log}"
    )


def arguments(group: Hosts, backend: str) -> list[str]:
    """The launcher's command line."""
    here = sum(name in LOCAL for name in group.names)
    threads = max(1, (os.cpu_count() or 1) // max(1, here))
    passed = ("PYTHONPATH", "TOKENIZERS_PARALLELISM")
    environment = {name: os.environ[name] for name in passed if name in os.environ}
    environment["OPENBLAS_NUM_THREADS"] = str(threads)
    variables = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    transport = ["--mpi-arg", "--stdin all"]  # mpirun gives its input to the first rank alone otherwise
    if backend == "ring":
        transport = ["--starting-port", str(_free_ports(len(group.names)))]
    return [*group.arguments, "--backend", backend, *transport, *variables, "--", sys.executable, "-m", MODULE]


def _read(file: Path) -> list[str]:
    """The names in a hostfile of mlx. Raises ConfigError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return [host["ssh"] for host in (content["hosts"] if isinstance(content, dict) else content)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            [
                f"trainer.hostfile: {file} is not a hostfile of mlx ({error}); it is a JSON list of "
                '{"ssh": name, "ips": [address]}'
            ]
        ) from None


def _free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that are free on this machine."""
    for first in range(32323, 60000, count):
        sockets: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise ConfigError([f"trainer.hosts: no {count} neighbouring ports are free on 127.0.0.1"])


class _Output:
    """Standard output that ends this process a moment after process 0 has written its result.

    The launcher would wait for processes that wait for one that is gone.
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
        if not self.ended and any(line.startswith((b'{"result"', b'{"error"')) for line in lines):
            self.ended = True
            threading.Timer(GRACE_SECONDS, os._exit, [0]).start()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _relay(source: int, target: int) -> None:
    """Pass on what comes; end with the parent, and every process of the training with this one."""
    while data := os.read(source, 65536):
        os.write(target, data)
    os._exit(1)


def _paced(readers: list[int], writers: list[int], errors: list[int], seconds: float) -> tuple[list[int], ...]:
    """`select` that waits for something to read only.

    The launcher (mlx 0.32.4) asks whether it may write even when it has nothing to, which is always so: each process
    took a core of its own for waiting.
    """
    ready, _, wrong = select.select(readers, [], errors, min(seconds, PACE_SECONDS))
    return ready, writers, wrong


def main() -> int:
    """Launch the processes of the job on standard input and wait; 1 when none wrote a result."""
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
    output = _Output(os.dup(1))
    launch.select = _paced
    sys.stdout = output  # type: ignore[assignment]  # the launcher writes to its buffer alone
    sys.argv = ["mlx.launch", *Job.model_validate(json.loads(job)["job"]).launch]
    launch.main()
    return 0 if output.ended else 1


if __name__ == "__main__":
    os._exit(main())
