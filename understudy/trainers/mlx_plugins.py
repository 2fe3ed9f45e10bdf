"""
What mlx-lm's training loop is given in place of its own loss, batches, optimizer and callback.

Each replaces a default that would spoil a run (mlx-lm 0.32.2): the loss counts one padding token
per row, batches drop the remainder, AdamW skips its bias correction and clips nothing, and the
last weights are kept instead of the best.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers
from mlx.utils import tree_flatten
from mlx_lm.tuner.callbacks import TrainingCallback

from understudy.interfaces import Report
from understudy.trainers import mlx_rows

BETTER_BY = 1e-3


class Stopped(Exception):
    """Raised by the callback to end training early; nothing is wrong."""


class Diverged(Exception):
    """The loss is no longer a number."""


def strict_loss(model: nn.Module, batch: mx.array, lengths: mx.array) -> tuple[mx.array, mx.array]:
    """Mean loss over the answers' tokens and end tokens, and how many they are; padding never counts."""
    logits, targets = model(batch[:, :-1]), batch[:, 1:]
    places = mx.arange(1, targets.shape[1] + 1)
    mask = mx.logical_and(places >= lengths[:, 0:1], places < lengths[:, 1:])
    count = mask.sum()
    losses = nn.losses.cross_entropy(logits, targets).astype(mx.float32) * mask
    return losses.sum() / mx.maximum(count, 1), count


class Batches:
    """mlx-lm's `iterate_batches`: training is shuffled by its own seed, validation is the whole set in order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(
        self,
        dataset: Sequence[mlx_rows.Row],
        batch_size: int,
        max_seq_length: int,
        loop: bool = False,
        seed: int | None = None,
        comm_group: Any = None,
    ) -> Iterator[tuple[mx.array, mx.array]]:
        for tokens, lengths in mlx_rows.batches(dataset, batch_size, self.seed if loop else None):
            yield mx.array(tokens), mx.array(lengths)


class ClippedAdamW(optimizers.AdamW):
    """AdamW with bias correction, behind a limit on the norm of all gradients together."""

    def __init__(self, rate: Callable[[mx.array], mx.array], weight_decay: float, clip: float) -> None:
        super().__init__(rate, weight_decay=weight_decay, bias_correction=True)
        self.clip = clip

    def update(self, model: nn.Module, gradients: dict[str, Any]) -> None:
        """One update from the clipped gradients."""
        clipped, _ = optimizers.clip_grad_norm(gradients, self.clip)
        super().update(model, clipped)


def schedule(peak: float, updates: int, warmup_share: float, decay: str) -> Callable[[mx.array], mx.array]:
    """The learning rate of each update (from 0): a linear rise, then a fall that would reach 0 one update later."""
    warmup = min(math.ceil(updates * warmup_share), updates - 1)

    def rate(update: mx.array) -> mx.array:
        rise = (update + 1) / (warmup + 1)
        gone = mx.clip((update - warmup) / max(1, updates - warmup), 0, 1)
        fall = (1 + mx.cos(math.pi * gone)) / 2 if decay == "cosine" else 1 - gone
        return peak * mx.where(update < warmup, rise, fall)

    return rate


class Journal(TrainingCallback):
    """Writes metrics.jsonl, keeps the best adapter, stops on a loss that is no number or no longer falls.

    Weights within `tolerance` of the lowest loss replace earlier ones: where the loss is flat, the
    later weights have seen the form of an answer more often.
    """

    def __init__(
        self,
        model: nn.Module,
        out: Path,
        iterations: int,
        accumulation: int,
        report: Report,
        *,
        patience: int,
        tolerance: float,
    ) -> None:
        self.model, self.out, self.report = model, out, report
        self.iterations, self.accumulation = iterations, accumulation
        self.patience, self.tolerance = patience, tolerance
        self.first: float | None = None
        self.lowest, self.worse = math.inf, 0
        self.best, self.best_iteration = math.inf, 0
        self.iteration, self.answer_tokens, self.seconds = 0, 0.0, 0.0
        self.train_losses: list[float] = []

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        """Note the loss of one update."""
        loss, self.iteration = train_info["train_loss"], train_info["iteration"]
        self._guard(loss, "train")
        self.train_losses.append(loss)
        tokens = train_info["trained_tokens"] - self.answer_tokens
        self.answer_tokens += tokens
        self.seconds += tokens / train_info["tokens_per_second"]
        self._write(
            self.iteration,
            train_loss=loss,
            learning_rate=train_info["learning_rate"],
            tokens_per_second=train_info["tokens_per_second"],
        )
        best = f", valid {self.best:.3f}" if math.isfinite(self.best) else ""
        self.report(self.iteration, self.iterations, f"loss {loss:.3f}{best}")

    def on_val_loss_report(self, val_info: dict[str, Any]) -> None:
        """Note the loss on the valid set; keep the weights when it is the best so far."""
        self.validated(val_info["iteration"], val_info["val_loss"])
        if self.worse >= self.patience:
            raise Stopped

    def validated(self, iteration: int, loss: float) -> None:
        """The same, without stopping; for the loss after the last update, which mlx-lm never takes."""
        self._guard(loss, "valid")
        self._write(iteration, valid_loss=loss)
        self.first = loss if self.first is None else self.first
        better = loss < self.lowest - BETTER_BY
        self.worse = 0 if better else self.worse + 1
        self.lowest = min(loss, self.lowest)
        if better or loss < self.lowest + self.tolerance:
            self.best, self.best_iteration = loss, iteration
            self.save(self.out / "adapters.safetensors")

    def save(self, file: Path) -> None:
        """Write the trainable weights as they are now."""
        mx.save_safetensors(str(file), dict(tree_flatten(self.model.trainable_parameters())))

    def _guard(self, loss: float, side: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"the {side} loss became {loss} after iteration {self.iteration}")

    def _write(self, iteration: int, **known: float) -> None:
        row: dict[str, float | int | None] = {
            "iteration": iteration,
            "update": iteration // self.accumulation,
            "train_loss": None,
            "valid_loss": None,
            "learning_rate": None,
            "tokens_per_second": None,
            "peak_memory_bytes": mx.get_peak_memory(),
        }
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row | known) + "\n")
