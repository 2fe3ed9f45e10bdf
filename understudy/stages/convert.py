"""
Stage `convert`: the fused model as one file, which counts once it was loaded, answered a question, and renders
conversations as training did.
"""

import logging
from pathlib import Path

from understudy.errors import ExportError
from understudy.graph import Node
from understudy.interfaces import Engine, Exporter, Progress
from understudy.records import AssetRef, ChatExample, GgufCard, Pair

VERSION = 2
CHECK_TOKENS = 32
SHOWN = 3
log = logging.getLogger("understudy")


def materialize(node: Node) -> AssetRef:
    """The fused model as the file that the quantizations are made of."""
    exporter, engine, row = node.config.exporter(), node.config.engine("llama_cpp"), node.held_out()[0]
    return node.build(
        lambda out, progress: convert(exporter, engine, node.file("fused"), out, node.keys["type"], row, progress)
    )


def convert(
    exporter: Exporter,
    engine: Engine,
    fused: Path,
    out: Path,
    type: str,
    row: tuple[Pair, ChatExample],
    progress: Progress,
) -> GgufCard:
    """Write `out` and return what was read back from it. Raises ExportError for a file unlike the model."""
    exporter.convert(fused, out, type, progress)
    template = exporter.round_trip(fused, out, progress)
    if template.differences:
        more = f"\n    and {len(template.differences) - SHOWN} more" if len(template.differences) > SHOWN else ""
        listed = "".join(f"\n    {sentence}" for sentence in template.differences[:SHOWN])
        raise ExportError(f"the {type} file would prompt the model unlike it was trained:{listed}{more}")
    return checked(exporter, engine, out, type, row).model_copy(update={"template": template})


def checked(exporter: Exporter, engine: Engine, file: Path, type: str, row: tuple[Pair, ChatExample]) -> GgufCard:
    """The card of a file that loads and answers. Raises ExportError for one that does not."""
    tensor_types, bits, fallbacks = exporter.describe(file, type)
    if fallbacks:
        log.warning("the %s file: %s; a base with other sizes would take less room", type, "; ".join(fallbacks))
    [sample] = engine.run(
        file, None, [row], answers=1, max_tokens=CHECK_TOKENS, progress=lambda done, total, note="": None
    )
    if sample.nll != sample.nll or sample.nll <= 0:
        raise ExportError(f"the {type} file loads but its likelihoods are not finite: {sample.nll}")
    return GgufCard(
        type=type,
        tensor_types=tensor_types,
        bits_per_weight=round(bits, 3),
        bytes=file.stat().st_size,
        fallbacks=fallbacks,
        question=row[0].question,
        answer=sample.text or "",
    )
