"""
One training on several processes: each takes its share of every batch, and the loss is that of the whole batch.

mlx-lm averages the gradients of all processes as if each had as many target tokens. They have not, so each
process's loss is weighted by its part of the batch's tokens; the mean over processes is then the mean over tokens.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from understudy.errors import ConfigError
from understudy.trainers.lora_job import Job
from understudy.trainers.lora_run import for_process

JOIN_SECONDS = 120
"""A process that waits longer than this for the others is ended."""

Batch = tuple[mx.array, ...]
Batches = Callable[..., Iterator[Batch]]
Loss = Callable[..., tuple[mx.array, mx.array]]


@dataclass(frozen=True)
class World:
    """This process among those that share a training; by default it is alone."""

    index: int = 0
    size: int = 1

    def iterate(self, batches: Batches) -> Batches:
        """mlx-lm's `iterate_batches`: this process's share of each batch of `batches`."""
        if self.size == 1:
            return batches

        def shares(*args: Any, **options: Any) -> Iterator[Batch]:
            for batch in batches(*args, **options):
                yield share(batch, self.index, self.size)

        return shares

    def loss(self, loss: Loss) -> Loss:
        """`loss`, a mean over this process's tokens, weighted so that its mean over processes is that over all."""
        if self.size == 1:
            return loss

        def weighted(model: nn.Module, *batch: mx.array) -> tuple[mx.array, mx.array]:
            mean, count = loss(model, *batch)
            total = mx.distributed.all_sum(count, stream=mx.cpu)
            return mean * (count * self.size / mx.maximum(total, 1)), count

        return weighted

    def least(self, number: float) -> float:
        """The smallest of all processes' numbers, to about seven digits where there are several."""
        if self.size == 1:
            return number
        least: Any = mx.distributed.all_min(mx.array(float(number)), stream=mx.cpu).item()
        return float(least)

    def refuse_unequal(self, what: str, number: int) -> None:
        """Raise ConfigError when the processes do not agree on a number: they do not see the same files."""
        lowest, highest = self.least(number), -self.least(-number)
        if lowest != highest:
            raise ConfigError(
                [
                    f"trainer.hosts: the machines differ in {what} ({lowest:.0f} to {highest:.0f}); "
                    "they must see base, dataset and run under the same path with the same content"
                ]
            )


def share(batch: Batch, index: int, size: int) -> Batch:
    """Every `size`-th row from `index` on; where there are too few, one row without a target token."""
    tokens, lengths, *more = batch
    if index < len(tokens):
        return tuple(array[index::size] if array.ndim else array for array in batch)
    nothing = mx.stack([lengths[:1, 1], lengths[:1, 1]], axis=1)
    return tokens[:1], nothing, *(array[:1] if array.ndim else array for array in more)


def join(job: Job) -> tuple[Job, World]:
    """Join the other processes; all but the first work in a folder of their own and answer no prompts."""
    if len(job.hosts) < 2:
        return job, World()
    # Waiting for the others, mlx holds the interpreter: no thread could see that the parent is gone, a signal can.
    signal.alarm(JOIN_SECONDS)
    world = World(mx.distributed.init(backend=job.options.backend, strict=True).rank(), len(job.hosts))
    signal.alarm(0)
    return for_process(job, world.index), world
