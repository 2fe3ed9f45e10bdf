"""
One training on several processes: each takes its share of every batch, and the loss is that of the whole batch.

mlx-lm averages the gradients of all ranks as if each had as many tokens under loss. They have not, so each rank's
loss is weighted with its part of the batch's tokens; the mean over ranks is then the mean over tokens.
"""

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx import nn

from understudy.errors import ConfigError

Loss = Callable[..., tuple[mx.array, mx.array]]


class Shares:
    """mlx-lm's `iterate_batches`: every n-th row of each batch of `batches`, from this rank's on."""

    def __init__(self, batches: Callable[..., Iterator[tuple[mx.array, ...]]], rank: int, size: int) -> None:
        self.batches, self.rank, self.size = batches, rank, size

    def __call__(self, *args: Any, **how: Any) -> Iterator[tuple[mx.array, ...]]:
        for batch in self.batches(*args, **how):
            yield share(batch, self.rank, self.size)


def share(batch: tuple[mx.array, ...], rank: int, size: int) -> tuple[mx.array, ...]:
    """The rows of `rank`; where there are too few, one row of which no token is under loss."""
    tokens, lengths, *more = batch
    if rank < len(tokens):
        return tuple(array[rank::size] if array.ndim else array for array in batch)
    nothing = mx.stack([lengths[:1, 1], lengths[:1, 1]], axis=1)
    return tokens[:1], nothing, *(array[:1] if array.ndim else array for array in more)


def shared(loss: Loss, size: int) -> Loss:
    """`loss`, a mean over this rank's tokens, weighted so that its mean over ranks is that over all tokens."""

    def weighted(model: nn.Module, *batch: mx.array) -> tuple[mx.array, mx.array]:
        mean, count = loss(model, *batch)
        total = mx.distributed.all_sum(count, stream=mx.cpu)
        return mean * (count * size / mx.maximum(total, 1)), count

    return weighted


def least(number: float) -> float:
    """The smallest of all ranks' numbers, to about seven digits."""
    return mx.distributed.all_min(mx.array(float(number)), stream=mx.cpu).item()


def refuse_unequal(what: str, number: int) -> None:
    """Raise ConfigError when the ranks do not agree on a number: they do not see the same files."""
    lowest, highest = least(number), -least(-number)
    if lowest != highest:
        raise ConfigError(
            [
                f"trainer.hosts: the machines differ in {what} ({lowest:.0f} to {highest:.0f}); "
                "they must see base, dataset and run under the same path with the same content"
            ]
        )
