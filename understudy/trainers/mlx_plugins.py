"""
What mlx-lm's training loop is given in place of its own loss, batches and optimizer.

Each replaces a default that would spoil a run (mlx-lm 0.32.2): the loss counts one padding token
per row, batches are neither sorted nor complete nor weighted, AdamW skips its bias correction and clips nothing.
A test for each says so as long as it is true; the callback is `understudy.trainers.mlx_journal`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers

from understudy import cpu
from understudy.cpu import head
from understudy.trainers import chat_rows


def masked_loss(
    model: nn.Module, batch: mx.array, lengths: mx.array, part: mx.array | float = 1.0
) -> tuple[mx.array, mx.array]:
    """Mean cross-entropy over the target tokens, and how many they are; the loss mask leaves out prompts and padding.

    The mean is multiplied with `part`, the weight `Batches` gives this batch in its step.
    """
    logits, targets = model(batch[:, :-1]), batch[:, 1:]
    places = mx.arange(1, targets.shape[1] + 1)
    mask = mx.logical_and(places >= lengths[:, 0:1], places < lengths[:, 1:])
    count = mask.sum()
    losses = nn.losses.cross_entropy(logits, targets).astype(mx.float32) * mask
    return losses.sum() / mx.maximum(count, 1) * part, count


def loss_for(model: nn.Module) -> Callable[..., tuple[mx.array, mx.array]]:
    """The loss above; on a processor the same with the head by numpy, where the model has one that this can take."""
    known = head.head_of(model) if cpu.used() else None
    return head.loss_of(known) if known else masked_loss


class Batches:
    """mlx-lm's `iterate_batches`: training is shuffled by its own seed, validation is the whole set in order.

    Training starts after the iterations in `done`, which a killed run has behind it, a multiple of `accumulation`.
    mlx-lm takes the mean over the batches of a step. A third item weights each with its target tokens, so
    that the step is that of one large batch: without it each token of a short answer outweighs one of a long answer.
    """

    def __init__(self, seed: int, budget: int = 4096, accumulation: int = 1) -> None:
        self.seed, self.budget, self.accumulation, self.done = seed, budget, accumulation, 0

    def __call__(
        self,
        dataset: Sequence[chat_rows.Row],
        batch_size: int,
        max_seq_length: int,
        loop: bool = False,
        seed: int | None = None,
        comm_group: Any = None,
    ) -> Iterator[tuple[mx.array, ...]]:
        if not loop:
            for tokens, lengths in chat_rows.batches(dataset, batch_size, None, 0, self.budget):
                yield mx.array(tokens), mx.array(lengths)
            return
        for step in chat_rows.steps(dataset, batch_size, self.seed, self.done, self.budget, self.accumulation):
            counts = [int((lengths[:, 1] - lengths[:, 0]).sum()) for _, lengths in step]
            for (tokens, lengths), count in zip(step, counts):
                part = mx.array(len(step) * count / sum(counts), mx.float32)
                yield mx.array(tokens), mx.array(lengths), part


class ClippedAdamW(optimizers.AdamW):  # type: ignore[misc]  # mlx.optimizers has no types
    """AdamW with bias correction, behind a limit on the norm of all gradients together.

    The norm before it was limited is part of the state: nothing else leaves a compiled step.
    """

    def __init__(self, rate: Callable[[mx.array], mx.array], weight_decay: float, max_grad_norm: float) -> None:
        super().__init__(rate, weight_decay=weight_decay, bias_correction=True)
        self.max_grad_norm = max_grad_norm
        self.state["gradient_norm"] = mx.array(0.0)

    def update(self, model: nn.Module, gradients: dict[str, Any]) -> None:
        """One step from the clipped gradients."""
        clipped, norm = optimizers.clip_grad_norm(gradients, self.max_grad_norm)
        super().update(model, clipped)
        self.state["gradient_norm"] = norm


def schedule(peak: float, steps: int, warmup_ratio: float, lr_scheduler: str) -> Callable[[mx.array], mx.array]:
    """The learning rate of each step (from 0): a linear rise, then a fall that would reach 0 one step later."""
    warmup = min(math.ceil(steps * warmup_ratio), steps - 1)

    def rate(step: mx.array) -> mx.array:
        rise = (step + 1) / (warmup + 1)
        fraction = mx.clip((step - warmup) / max(1, steps - warmup), 0, 1)
        fall = (1 + mx.cos(math.pi * fraction)) / 2 if lr_scheduler == "cosine" else 1 - fraction
        return peak * mx.where(step < warmup, rise, fall)

    return rate
