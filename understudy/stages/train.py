"""Stage `train`: base and pairs in, adapter out, with every loss on the way in metrics.jsonl."""

from pathlib import Path

from understudy.interfaces import Progress, Trainer
from understudy.records import AdapterCard

VERSION = 1


def train(
    trainer: Trainer, base: Path, train_rows: Path, valid_rows: Path, out: Path, seed: int, progress: Progress
) -> AdapterCard:
    """Fill `out` with the best adapter; it may hold what a killed run left."""
    return trainer.train(base, train_rows, valid_rows, out, seed, progress)
