"""Stage `quantize`: the first file with smaller weights, which counts once it was loaded and answered a question."""

import os
from pathlib import Path

from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Engine, Exporter, Progress
from understudy.records import AssetRef, ChatExample, GgufCard, Pair
from understudy.stages.convert import checked

VERSION = 2


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str:
    """The type of the file."""
    return keys["type"]


def materialize(node: Node) -> AssetRef:
    """The first file with weights of another type."""
    # Quantizations run side by side; with more threads than cores llama.cpp spends its time waiting.
    threads = max(1, (os.cpu_count() or 1) // len(node.config.export.types))
    exporter, engine = node.config.exporter(), node.config.engine("llama_cpp", threads=threads)
    importance = node.file("importance") if "importance" in node.inputs else None
    type, row = node.keys["type"], node.held_out()[0]
    return node.build(
        lambda out, progress: quantize(exporter, engine, node.file("f16"), out, type, importance, row, progress)
    )


def quantize(
    exporter: Exporter,
    engine: Engine,
    first: Path,
    out: Path,
    type: str,
    importance: Path | None,
    row: tuple[Pair, ChatExample],
    progress: Progress,
) -> GgufCard:
    """Write `out` and return what was read back from it: the tensor types it holds may differ from `type`."""
    exporter.quantize(first, out, type, importance, progress)
    return checked(exporter, engine, out, type, row)
