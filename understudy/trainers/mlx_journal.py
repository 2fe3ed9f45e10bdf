"""The journal of a training with mlx-lm, as a callback of its loop."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.callbacks import TrainingCallback

from understudy.interfaces import Progress
from understudy.trainers import journal, mlx_checkpoint
from understudy.trainers.journal import Lines, Stopped, TrainingState
from understudy.trainers.mlx_checkpoint import Checkpoints
from understudy.trainers.plan import Plan

__all__ = ["Journal", "Lines", "Stopped", "TrainingState"]


class Journal(journal.Journal, TrainingCallback):  # type: ignore[misc]  # mlx_lm has no types
    """Receives each step from mlx-lm's loop, and ends it by Stopped."""

    def __init__(
        self,
        out: Path,
        model: nn.Module,
        plan: Plan,
        state: TrainingState,
        checkpoints: Checkpoints,
        patience: int,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(out, plan, state, checkpoints, patience, progress, clock)
        self.model, self.optimizer, self.tokens = model, checkpoints.optimizer, 0

    def save_weights(self, file: Path) -> None:
        """Write the trained weights."""
        mlx_checkpoint.write(file, mlx_checkpoint.trainable(self.model))

    def peak_bytes(self) -> int:
        """The most memory mlx has held."""
        return int(mx.get_peak_memory())

    def train_mode(self) -> None:
        """Have the model train again."""
        self.model.train()

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        """Take mlx-lm's numbers of one step. Raises Stopped, Diverged, OSError."""
        tokens, self.tokens = train_info["trained_tokens"] - self.tokens, train_info["trained_tokens"]
        self.after_step(
            self.done + train_info["iteration"],
            train_info["train_loss"],
            train_info["learning_rate"],
            float(self.optimizer.state["gradient_norm"].item()),
            tokens,
            train_info["tokens_per_second"],
        )
        if self.finished:
            raise Stopped
