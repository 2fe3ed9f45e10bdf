"""
One training by several processes of this machine, one for each card: every batch is shared among them by rows.

The worker starts the others itself and hands them its job. They meet in a file, so no port is opened to find each
other, and gradients travel over the loopback interface. The losses of all add up to that of the whole batch.
"""

import json
import logging
import os
import shutil
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
from understudy.trainers.lora_run import folder_of
from understudy.trainers.torch_job import TorchJob

MODULE = "understudy.trainers.torch_lora_worker"
LOST = 3
"""Exit status of the first process when another one is gone."""
GRACE_SECONDS = 5.0
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
log = logging.getLogger("understudy.trainers.peft_lora")


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
    """Meet the other processes; the first one starts them, and ends with a line in the log when one of them is lost.

    All but the first work in a folder of their own and answer no prompts.
    """
    size = max(1, len(job.hosts))
    world = World(job.index, size)
    if size == 1:
        yield job, world
        return
    others = [] if world.index else _start_others(job, size)
    _meet(world, job.meeting)
    try:
        yield folder_of(job, world.index), world
    finally:
        for other in others:
            other.ended.set()
        with suppress(RuntimeError):  # another one is gone, and the first error says why
            distributed.destroy_process_group()
        for other in others:
            worker.stop(other.process)


class _Other(NamedTuple):
    process: "Popen[str]"
    ended: threading.Event


def _start_others(job: TorchJob, size: int) -> list[_Other]:
    job.meeting.parent.mkdir(parents=True, exist_ok=True)
    job.meeting.unlink(missing_ok=True)
    others = []
    for index in range(1, size):
        file = job.meeting.parent / f"{index}.log"
        with file.open("a", encoding="utf-8") as printed:
            process = worker.start(MODULE, printed, blas=False)
        theirs = job.model_copy(update={"index": index}).model_dump(mode="json")
        assert process.stdin
        process.stdin.write(json.dumps({"log": str(file), "job": theirs}) + "\n")
        process.stdin.flush()
        others.append(_Other(process, threading.Event()))
        threading.Thread(target=_watch, args=(others[-1], index, size, file), daemon=True).start()
    return others


def _watch(other: _Other, index: int, size: int, file: Path) -> None:
    """End this process when another one ended before its work was done: what waits for it would wait for ever."""
    assert other.process.stdout
    said = other.process.stdout.read()
    code = other.process.wait()
    if '"error"' in said:
        other.ended.wait(GRACE_SECONDS)  # most likely this process finds the same, and says it better
    if other.ended.is_set() or '"result"' in said:
        return
    last = file.read_text(encoding="utf-8", errors="replace").splitlines()[-1:] if file.exists() else []
    why = "was killed, most likely out of memory" if code == -9 else f"ended with exit code {code}: {said or last}"
    shutil.copyfile(file, file.parents[1] / f"train-{index}.log")
    print(f"process {index + 1} of {size} {why}; run again, and training resumes from its checkpoint", flush=True)
    os._exit(LOST)


def _meet(world: World, file: Path) -> None:
    """Join the group, and let transformers know of it."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    os.environ |= dict(zip(names, map(str, (*[world.index] * 2, *[world.size] * 2, LOOPBACK, LOOPBACK))))
    cards = torch.cuda.device_count()
    if cards:
        torch.cuda.set_device(world.index % cards)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.size))
    backend = "cpu:gloo,cuda:nccl" if cards else "gloo"
    distributed.init_process_group(backend, init_method=file.as_uri(), rank=world.index, world_size=world.size)
