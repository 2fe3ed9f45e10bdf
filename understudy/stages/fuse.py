"""Stage `fuse`: base and adapter merged into one Hugging Face folder, whose template thinks only when told to."""

from pathlib import Path

from understudy.interfaces import Exporter, Progress, Trainer
from understudy.records import FusedCard

VERSION = 3


def fuse(trainer: Trainer, exporter: Exporter, base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
    """Fill `out`. The trainer merges, since it knows how its adapter is applied; the template is then settled."""
    card = trainer.fuse(base, adapter, out, progress)
    return card.model_copy(update={"template_settled": exporter.settle(out)})
