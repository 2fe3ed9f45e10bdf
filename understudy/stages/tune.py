"""Stage `tune`: a short training, and whether its settings can be chosen. Only train and valid are looked at."""

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from understudy import locks, registry
from understudy.errors import DatasetError, Diverged
from understudy.graph import Node
from understudy.interfaces import Progress, Trainer
from understudy.records import AssetRef, TrialCard
from understudy.runs.elsewhere import RemoteTrainer

VERSION = 1

RISING_BY = 0.01
"""Nats a valid loss ends above its lowest before it counts as rising."""


def materialize(node: Node, remote: RemoteTrainer | None = None) -> AssetRef:
    """The losses of one short training; made where the real one will be, from the same rows in the same order."""
    spec, trainer = node.config.trainer, remote or node.config.plugin("trainer")
    known = registry.identity("trainer", spec.use, spec.options)["options"]

    def make(out: Path, progress: Progress) -> TrialCard:
        with nullcontext() if remote else locks.only_training():
            return trial(
                trainer,
                known["learning_rate"],
                _strength(known),
                node.file("base"),
                node.file("train"),
                node.file("valid"),
                out,
                node.config.seed,
                progress,
            )

    return node.build(make)


def trial(
    trainer: Trainer | RemoteTrainer,
    learning_rate: float,
    strength: float | None,
    base: Path,
    train_rows: Path,
    valid_rows: Path,
    out: Path,
    seed: int,
    progress: Progress,
) -> TrialCard:
    """Fill `out` with the losses of a short training; a diverged one is a result, too. The weights are not kept."""
    began, dropped = time.monotonic(), None
    try:
        trainer.train(base, train_rows, valid_rows, out, seed, progress)
    except Diverged as error:
        dropped = str(error).split(";")[0]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [(row["iteration"], row["valid_loss"]) for row in rows if math.isfinite(row.get("valid_loss") or math.nan)]
    if not losses and dropped is None:
        raise DatasetError(
            "tune: no row of the valid set is short enough to be scored, so no trial can be chosen; "
            "raise trainer.max_seq_length"
        )
    for weights in out.rglob("*.safetensors"):
        weights.unlink()
    return TrialCard(
        learning_rate=learning_rate,
        strength=strength,
        steps=max((row["step"] for row in rows), default=0),
        base_valid_loss=losses[0][1] if losses else None,
        valid_losses=losses,
        dropped=dropped or rising(losses),
        seconds=round(time.monotonic() - began, 3),
    )


def rising(losses: list[tuple[int, float]]) -> str | None:
    """Why a run with these valid losses is going the wrong way, the base's first; None when it is not."""
    at, lowest = min(losses, key=lambda loss: loss[1])
    if losses[-1][1] <= lowest + RISING_BY:
        return None
    return f"the valid loss rose from {lowest:.3f} at iteration {at} to {losses[-1][1]:.3f}"


def _strength(options: dict[str, Any]) -> float | None:
    return float(f"{options['learning_rate'] * options['alpha']:.6g}") if "alpha" in options else None
