"""Stage `quantize`: the f16 file with smaller weights, which counts once it was loaded and asked a question."""

from pathlib import Path

from understudy.interfaces import Engine, Exporter, Report
from understudy.records import ChatExample, GgufCard, Pair
from understudy.stages.convert import checked

VERSION = 1


def quantize(
    exporter: Exporter, engine: Engine, f16: Path, out: Path, type: str, row: tuple[Pair, ChatExample], report: Report
) -> GgufCard:
    """Write `out` and return what was read back from it: the tensor types it holds may differ from `type`."""
    exporter.quantize(f16, out, type, report)
    return checked(exporter, engine, out, type, [row])
