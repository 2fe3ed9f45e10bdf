"""Stage `convert_base`: the base itself as one file of a type, so that a file of the tuned model has a fair rival."""

from pathlib import Path

from understudy.interfaces import Engine, Exporter, Progress
from understudy.records import ChatExample, GgufCard, Pair
from understudy.stages.convert import checked

VERSION = 1


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
