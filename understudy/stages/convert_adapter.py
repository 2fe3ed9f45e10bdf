"""Stage `convert_adapter`: the adapter alone as a file, for programs that run it beside a file of the base."""

from pathlib import Path

from understudy.graph import Node
from understudy.interfaces import Progress
from understudy.records import AssetRef, LoraFileCard

VERSION = 2


def materialize(node: Node) -> AssetRef:
    """The adapter as a GGUF file."""
    exporter = node.config.exporter()

    def convert(out: Path, progress: Progress) -> LoraFileCard:
        exporter.adapter(node.file("base"), node.file("adapter"), out, progress)
        tensors, _, _ = exporter.describe(out, "F32")
        return LoraFileCard(tensors=sum(tensors.values()), bytes=out.stat().st_size)

    return node.build(convert)
