"""
One training by several processes of this machine, one for each card: every batch is shared among them by rows.

The worker starts the others itself and hands them its job. They meet in a file, so no port is opened to find each
other, and gradients travel over the loopback interface. The losses of all add up to that of the whole batch.
"""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import numpy as np
import torch
from torch import distributed

from understudy import worker
from understudy.trainers.lora_run import for_process
from understudy.trainers.torch_job import TorchJob

MODULE = "understudy.trainers.torch_lora_worker"
LOST = 3
"""Exit status of the first process when another one is gone."""
GRACE_SECONDS = 5.0
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(frozen=True)
class World:
    """This process among those that share a training; by default it is alone."""

    index: int = 0
    size: int = 1

    def share(self, tokens: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every `size`-th row from `index` on; where there are too few, one row without a target token."""
        if self.index < len(tokens):
            return tokens[self.index :: self.size], lengths[self.index :: self.size]
        return tokens[:1], lengths[:1, [1, 1]]

    def sums(self, *numbers: float) -> list[float]:
        """Each number, added up over all processes."""
        if self.size == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(total)
        return [float(number) for number in total]

    def least(self, number: float) -> float:
        """The smallest of all processes' numbers."""
        if self.size == 1:
            return number
        least = torch.tensor(number, dtype=torch.float64)
        distributed.all_reduce(least, distributed.ReduceOp.MIN)
        return float(least)


@contextmanager
def joined(job: TorchJob) -> Iterator[tuple[TorchJob, World]]:
    """Join the other processes; the first one starts them, and ends with a line in the log when one of them is lost.

    All but the first work in a folder of their own and answer no prompts.
    """
    world = World(job.index, max(1, len(job.hosts)))
    if world.size == 1:
        yield job, world
        return
    others = [] if world.index else [_started(job, index) for index in range(1, world.size)]
    _join(world, job.rendezvous)
    try:
        yield for_process(job, world.index), world
    finally:
        for other in others:
            other.released.set()
        with suppress(RuntimeError):  # another one is gone, and the first error says why
            distributed.destroy_process_group()
        for other in others:
            worker.stop(other.process)


class _Other(NamedTuple):
    """One of the processes that the first one started."""

    rank: int
    process: "Popen[str]"
    log: Path
    released: threading.Event
    """Set once it may end."""


def _started(job: TorchJob, index: int) -> _Other:
    log = job.rendezvous.with_name(f"{index}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as printed:
        process = worker.start(MODULE, printed, blas=False)
    own_job = job.model_copy(update={"index": index}).model_dump(mode="json")
    assert process.stdin
    process.stdin.write(json.dumps({"log": str(log), "job": own_job}) + "\n")
    process.stdin.flush()
    other = _Other(index, process, log, threading.Event())
    threading.Thread(target=_watch, args=(other, len(job.hosts)), daemon=True).start()
    return other


def _watch(other: _Other, size: int) -> None:
    """End this process when another one ended before its work was done: what waits for it would wait for ever."""
    assert other.process.stdout
    lines = other.process.stdout.read().splitlines()
    code = other.process.wait()
    message = json.loads(lines[-1]) if lines else {}
    if "error" in message:
        other.released.wait(GRACE_SECONDS)  # most likely this process raises the same, and reports it better
    if other.released.is_set() or "result" in message:
        return
    why = f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        why = "was killed, most likely out of memory"
    elif "error" in message:
        why = f"ended: {message['error'][1]}"
    shutil.copyfile(other.log, other.log.parents[1] / f"train-{other.rank}.log")
    print(f"process {other.rank + 1} of {size} {why}; run again, and training resumes from its checkpoint", flush=True)
    os._exit(LOST)


def _join(world: World, file: Path) -> None:
    """Join the group, and let transformers know of it."""
    os.environ |= {
        "RANK": str(world.index),
        "LOCAL_RANK": str(world.index),
        "WORLD_SIZE": str(world.size),
        "LOCAL_WORLD_SIZE": str(world.size),
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": LOOPBACK,
    }
    cards = torch.cuda.device_count()
    if cards:
        torch.cuda.set_device(world.index % cards)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.size))
    backend = "cpu:gloo,cuda:nccl" if cards else "gloo"
    distributed.init_process_group(backend, init_method=file.as_uri(), rank=world.index, world_size=world.size)
