"""Stage `convert`: the fused model as one f16 file, which counts once it was loaded and asked a question."""

from collections.abc import Sequence
from pathlib import Path

from understudy.errors import ExportError
from understudy.interfaces import Engine, Exporter, Report
from understudy.records import ChatExample, GgufCard, Pair

VERSION = 1
CHECK_TOKENS = 32


def convert(
    exporter: Exporter, engine: Engine, fused: Path, out: Path, row: tuple[Pair, ChatExample], report: Report
) -> GgufCard:
    """Write `out` and return what was read back from it."""
    exporter.convert(fused, out, report)
    return checked(exporter, engine, out, "F16", [row])


def checked(
    exporter: Exporter, engine: Engine, file: Path, type: str, rows: Sequence[tuple[Pair, ChatExample]]
) -> GgufCard:
    """The card of a file that loads and answers. Raises ExportError for one that does not."""
    tensor_types, bits = exporter.describe(file)
    [sample] = engine.run(
        file, None, rows, answers=1, max_tokens=CHECK_TOKENS, report=lambda done, total, note="": None
    )
    if sample.nll != sample.nll or sample.nll <= 0:
        raise ExportError(f"the {type} file loads but its likelihoods are no numbers: {sample.nll}")
    return GgufCard(
        type=type,
        tensor_types=tensor_types,
        bits_per_weight=round(bits, 3),
        question=rows[0][0].question,
        answer=sample.text or "",
    )
