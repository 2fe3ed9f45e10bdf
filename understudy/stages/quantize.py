"""Stage `quantize`: the first file with smaller weights, which counts once it was loaded and asked a question."""

from pathlib import Path

from understudy.interfaces import Engine, Exporter, Progress
from understudy.records import ChatExample, GgufCard, Pair
from understudy.stages.convert import checked

VERSION = 2


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
