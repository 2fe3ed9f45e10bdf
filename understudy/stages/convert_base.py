"""Stage `convert_base`: the base itself as one file of a type, so that a file of the tuned model has a fair rival."""

from pathlib import Path

from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Engine, Exporter, Progress
from understudy.records import AssetRef, ChatExample, GgufCard, Pair
from understudy.stages.convert import checked

VERSION = 1


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str:
    """The type of the file."""
    return keys["type"]


def materialize(node: Node) -> AssetRef:
    """The base as a file, beside it, for every run that starts from it."""
    exporter, engine, first = node.config.exporter(), node.config.engine("llama_cpp"), node.config.export.first
    type, row = node.keys["type"], node.held_out()[0]
    return node.build(
        lambda out, progress: convert_base(exporter, engine, node.file("base"), out, first, type, row, progress)
    )


def convert_base(
    exporter: Exporter,
    engine: Engine,
    base: Path,
    out: Path,
    first: str,
    type: str,
    row: tuple[Pair, ChatExample],
    progress: Progress,
) -> GgufCard:
    """Write the folder `base` as `out` and return what was read back; by way of a `first` file that does not stay.

    Raises ExportError for a base that cannot be one, such as one whose weights are quantized already.
    """
    if type == first:
        exporter.convert(base, out, type, progress)
        return checked(exporter, engine, out, type, row)
    whole = out.with_name(f"{out.name}.{first}")
    try:
        exporter.convert(base, whole, first, progress)
        exporter.quantize(whole, out, type, None, progress)
    finally:
        whole.unlink(missing_ok=True)
    return checked(exporter, engine, out, type, row)
