"""
What happens between two steps: metrics are written, the valid set is evaluated, the best weights are saved.

All that a later decision needs is in metrics.jsonl, so a run that was killed has its state back once its
rows up to the checkpoint are read. No library's own validation is used: mlx-lm's comes in the middle of an
accumulation and never after the last step, transformers' rounds and keeps what it measured in a file of its own.
"""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.errors import Diverged
from understudy.interfaces import Progress
from understudy.trainers.plan import Plan

BETTER_BY = 1e-3

SAMPLES_EVERY = 400
"""Iterations between answers on the way; a training of fewer answers once, when it is done."""
SHORTEST_SAMPLE, ITERATIONS_PER_TOKEN = 12, 8
"""A short training answers in fewer tokens: one of three answers takes a fortieth to a twentieth of an iteration."""
CHECKPOINT_SHARE = 0.002
"""Of the time, at most, goes into checkpoints between evaluations. They change nothing but what a kill costs."""

MetricsRow = dict[str, float | int | None]


def sample_length(most: int, iterations: int) -> int:
    """Tokens of an answer on the way, at most: fewer where the training has few iterations."""
    return min(most, max(SHORTEST_SAMPLE, iterations // ITERATIONS_PER_TOKEN))


class Stopped(Exception):
    """Raised to end training early; nothing is wrong."""


class TrainingState:
    """The state that follows from the losses so far.

    Weights within `tolerance` of the lowest loss replace earlier ones: where the loss is flat, the
    later weights have seen the form of an answer more often.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.first: float | None = None
        self.lowest, self.worse = math.inf, 0
        self.best, self.best_iteration = math.inf, 0
        self.first_train, self.last_train = math.nan, math.nan
        self.iteration, self.answer_tokens, self.training_seconds, self.seconds = 0, 0, 0.0, 0.0

    def add(self, row: MetricsRow) -> bool:
        """Add one row of metrics.jsonl; True when the weights of this moment are to be saved as the best."""
        self.iteration, self.seconds = int(row["iteration"] or 0), float(row["seconds"] or 0)
        loss = row["valid_loss"]
        if loss is not None:
            return self._add_valid_loss(loss)
        train, tokens, speed = row["train_loss"], row["tokens"], row["tokens_per_second"]
        assert train is not None and tokens is not None and speed is not None
        self.first_train = train if math.isnan(self.first_train) else self.first_train
        self.last_train = train
        self.answer_tokens += int(tokens)
        self.training_seconds += tokens / speed if speed else 0
        return False

    def _add_valid_loss(self, loss: float) -> bool:
        self.first = loss if self.first is None else self.first
        better = loss < self.lowest - BETTER_BY
        self.worse = 0 if better else self.worse + 1
        self.lowest = min(loss, self.lowest)
        is_best = better or loss < self.lowest + self.tolerance
        if is_best:
            self.best, self.best_iteration = loss, self.iteration
        return is_best


class Lines:
    """A file of one JSON object per line, `iteration` in each; nothing is lost that a checkpoint relies on."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def until(self, iteration: int) -> list[dict[str, Any]]:
        """The lines up to `iteration`; later ones, and one that was cut short, are removed from the file."""
        lines = []
        for line in self.file.read_bytes().splitlines(keepends=True) if self.file.exists() else []:
            if not line.endswith(b"\n") or json.loads(line)["iteration"] > iteration:
                break
            lines.append(line)
        self.file.write_bytes(b"".join(lines))
        return [json.loads(line) for line in lines]

    def add(self, *rows: dict[str, Any]) -> None:
        """Append `rows`. Raises OSError."""
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def sync(self) -> None:
        """Have the lines on the disk before a checkpoint that relies on them."""
        if self.file.exists():
            with self.file.open("a") as lines:
                os.fsync(lines.fileno())


class Checkpoints:
    """Writes `file` between steps, and restores from it; a subclass says what is in it."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.file, self.clock = file, clock
        self._cost, self._wrote = 0.0, clock()

    def due(self) -> bool:
        """Whether the last checkpoint is so long ago that another costs next to nothing."""
        return self.clock() - self._wrote > self._cost / CHECKPOINT_SHARE

    def save(self, iteration: int) -> None:
        """Write a checkpoint, between two steps. Raises OSError."""
        start = self.clock()
        self.write(iteration)
        self._wrote = self.clock()
        self._cost = self._wrote - start

    def write(self, iteration: int) -> None:
        """Replace the file by this moment."""
        raise NotImplementedError

    def restore(self) -> int:
        """Restore the checkpoint; its iteration, 0 when there is none. Raises AssetError."""
        raise NotImplementedError


class Journal:
    """Writes the metrics of every step; evaluates, saves the best weights, samples and checkpoints when that is due."""

    def __init__(
        self,
        out: Path,
        plan: Plan,
        state: TrainingState,
        checkpoints: Checkpoints,
        patience: int,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan, self.state, self.checkpoints = plan, state, checkpoints
        self.patience, self.progress, self.clock = patience, progress, clock
        self.metrics, self.samples = Lines(out / "metrics.jsonl"), Lines(out / "samples.jsonl")
        self.best_file, self.numbered = out / "best" / "adapters.safetensors", out / "checkpoints"
        self.validate: Callable[[], float] | None = None
        self.sample: Callable[[], list[dict[str, Any]]] = list
        self.started, self.done, self.own_seconds = clock(), 0, 0.0
        self.sample_seconds = 0.0

    def save_weights(self, file: Path) -> None:
        """Write the trained weights in mlx's form."""
        raise NotImplementedError

    def peak_bytes(self) -> int:
        """The most memory training has held."""
        raise NotImplementedError

    def train_mode(self) -> None:
        """Have the model train again after it was evaluated."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether the last step is done, or patience is at its end."""
        return self.state.worse >= self.patience or self.state.iteration >= self.plan.iterations

    def resume(self) -> int:
        """Restore the checkpoint; its iteration, 0 when there is none. Raises AssetError."""
        self.done = self.checkpoints.restore()
        last = self.done or -1  # at iteration 0 nothing is lost by starting again
        self.samples.until(last)
        for row in self.metrics.until(last):
            self.state.add(row)
        self.started = self.clock() - self.state.seconds
        return self.done

    def after_step(
        self, iteration: int, loss: float, learning_rate: float, norm: float, tokens: int, tokens_per_second: float
    ) -> None:
        """Write one step's metrics, then do what is due after it. Raises Diverged, OSError."""
        start = self.clock()
        self._guard(iteration, "train loss", loss)
        self._guard(iteration, "gradient norm", norm)
        self._write(
            iteration,
            train_loss=loss,
            learning_rate=learning_rate,
            gradient_norm=norm,
            tokens=tokens,
            tokens_per_second=tokens_per_second,
        )
        best = f", valid {self.state.best:.3f}" if math.isfinite(self.state.best) else ""
        self.progress(iteration, self.plan.iterations, f"loss {loss:.3f}{best}")
        step = iteration // self.plan.accumulation
        if self.plan.saves_after(step):
            self.save_weights(self.numbered / f"{step:07d}_adapters.safetensors")
        self.own_seconds += self.clock() - start
        if self.plan.evaluates_after(step):
            self.evaluate(iteration)
        elif self.checkpoints.due():
            self._save(iteration)

    def evaluate(self, iteration: int) -> None:
        """Compute the valid loss, save these weights when they are the best, answer the fixed prompts, checkpoint."""
        is_best, loss = True, None  # without a valid set the last weights are the best there are
        if self.validate:
            loss = self.validate()
            self._guard(iteration, "valid loss", loss)
        start = self.clock()
        if loss is not None:
            is_best = self._write(iteration, valid_loss=loss)
        if is_best:
            self.state.best_iteration = iteration
            self.save_weights(self.best_file)
        self.own_seconds += self.clock() - start
        if self._samples_after(iteration):
            start, step = self.clock(), iteration // self.plan.accumulation
            self.samples.add(*({"iteration": iteration, "step": step} | sample for sample in self.sample()))
            self.sample_seconds += self.clock() - start
        self.train_mode()
        self._save(iteration)

    def _samples_after(self, iteration: int) -> bool:
        """Whether the prompts are answered, by iterations alone: after training, and in a long one on the way."""
        if self.finished or iteration == self.plan.iterations:
            return True
        if self.plan.iterations < SAMPLES_EVERY:
            return False
        before = iteration - self.plan.steps_per_evaluation * self.plan.accumulation
        return iteration // SAMPLES_EVERY > before // SAMPLES_EVERY

    def _save(self, iteration: int) -> None:
        start = self.clock()
        self.metrics.sync()
        self.checkpoints.save(iteration)
        self.own_seconds += self.clock() - start

    def _guard(self, iteration: int, what: str, value: float) -> None:
        if not math.isfinite(value):
            shown = "NaN" if math.isnan(value) else value
            raise Diverged(f"the {what} became {shown} at iteration {iteration}")

    def _write(self, iteration: int, **values: float) -> bool:
        row: MetricsRow = {
            "iteration": iteration,
            "step": iteration // self.plan.accumulation,
            "train_loss": None,
            "valid_loss": None,
            "learning_rate": None,
            "gradient_norm": None,
            "tokens": None,
            "tokens_per_second": None,
            "peak_memory_bytes": self.peak_bytes(),
            "seconds": round(self.clock() - self.started, 3),
        }
        row |= values
        self.metrics.add(row)
        return self.state.add(row)
