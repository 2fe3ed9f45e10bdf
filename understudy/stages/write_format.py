"""Stage `write_format`: the kept pairs as another program reads them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from understudy.config import Config
from understudy.dataset import formats
from understudy.records import Document, FormatCard, Pair, SplitPlan

VERSION = 1


def write(
    kind: str,
    pairs: Sequence[Pair],
    plan: SplitPlan,
    config: Config,
    documents: Iterable[Document],
    summary: str,
    out: Path,
) -> FormatCard:
    """Fill the folder `out` with the dataset in format `kind`. Raises DatasetError, ConfigError."""
    about = {"documents": documents, "licence": config.licence, "summary": summary}
    files = formats.write(kind, pairs, plan, config.name, config.permission, out, **about)
    return FormatCard(format=kind, files=sorted(file.relative_to(out).as_posix() for file in files))
