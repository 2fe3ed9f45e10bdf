"""Stage `write_format`: the kept pairs as another program reads them."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from understudy.config import Config
from understudy.dataset import formats
from understudy.graph import Graph, Node, Refs
from understudy.records import AssetRef, Document, FormatCard, Pair, SplitPlan
from understudy.stages.describe import SUMMARY
from understudy.workspace import Workspace

VERSION = 1
log = logging.getLogger("understudy.dataset")


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str:
    """The name of the format."""
    return keys["format"]


def materialize(node: Node) -> AssetRef:
    """The kept pairs as another program reads them."""
    pairs, plan, kind = node.rows("pairs"), node.read("split"), node.keys["format"]
    documents = (node.workspace.read(ref) for ref in node.talks("document"))
    summary = (node.file("description") / SUMMARY).read_text(encoding="utf-8")
    return node.build(lambda out, _: write(kind, pairs, plan, node.config, documents, summary, out))


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
    files = formats.write(
        kind, pairs, plan, config.name, config.permission, out,
        documents=documents, licence=config.licence, summary=summary,
    )  # fmt: skip
    return FormatCard(format=kind, files=sorted(file.relative_to(out).as_posix() for file in files))


def warn_of_stale_formats(workspace: Workspace) -> None:
    """Log a warning for formats that an earlier run wrote and the preset no longer names."""
    for folder in sorted((workspace.folder / "dataset" / "formats").glob("*/")):
        if folder.name not in workspace.config.formats:
            log.warning("%s is of an earlier run; delete it, or have it made again: formats=[%s]", folder, folder.name)
