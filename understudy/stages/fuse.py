"""Stage `fuse`: base and adapter merged into one Hugging Face folder."""

from pathlib import Path

from understudy.interfaces import Report, Trainer
from understudy.records import FusedCard

VERSION = 1


def fuse(trainer: Trainer, base: Path, adapter: Path, out: Path, report: Report) -> FusedCard:
    """Fill `out`. The trainer merges, since it knows how its adapter is applied."""
    return trainer.fuse(base, adapter, out, report)
