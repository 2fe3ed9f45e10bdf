"""Stage `fuse`: base and adapter merged into one Hugging Face folder, whose template has thinking switched off."""

from pathlib import Path

from understudy.graph import Node
from understudy.interfaces import Exporter, Progress, Trainer
from understudy.records import AssetRef, FusedCard

VERSION = 3


def materialize(node: Node) -> AssetRef:
    """Base and adapter merged."""
    trainer, exporter = node.config.plugin("trainer"), node.config.exporter()
    return node.build(
        lambda out, progress: fuse(trainer, exporter, node.file("base"), node.file("adapter"), out, progress)
    )


def fuse(trainer: Trainer, exporter: Exporter, base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
    """Fill `out`: the trainer merges, as it knows how its adapter is applied, and the template gets its defaults."""
    card = trainer.fuse(base, adapter, out, progress)
    return card.model_copy(update={"template_changed": exporter.set_template_defaults(out)})
