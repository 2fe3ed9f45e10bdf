"""Stage `importance`: how much each column of the model's matrices matters, by the talks of the train side."""

from pathlib import Path

from understudy.interfaces import Exporter, Progress
from understudy.records import ImportanceCard

VERSION = 1


def importance(exporter: Exporter, fused: Path, train: Path, out: Path, progress: Progress) -> ImportanceCard:
    """Fill folder `out` with what the quantizations weigh their rounding by; nothing held out is read."""
    return exporter.importance(fused, train, out, progress)
