"""Stage `write_format`: the kept pairs as another program reads them."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from understudy import memory
from understudy.config import Config
from understudy.dataset import formats
from understudy.dataset.formats.training import NO_REPOSITORY, Training
from understudy.dataset.rows import shown
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Recipe
from understudy.records import AssetRef, ChatExample, Document, FormatCard, Pair, Split, SplitPlan
from understudy.stages.describe import SUMMARY
from understudy.stages.split import SPLITS
from understudy.trainers.lora_job import LoraOptions
from understudy.trainers.suggested import suggest
from understudy.workspace import Workspace

VERSION = 2
TYPICAL_PARAMETERS = 1_000_000_000
"""Where the size of a base is known only once it is downloaded."""
log = logging.getLogger("understudy.dataset")


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str:
    """The name of the format."""
    return keys["format"]


def materialize(node: Node) -> AssetRef:
    """The kept pairs as another program reads them."""
    pairs, plan, kind = node.rows("pairs"), node.read("split"), node.keys["format"]
    documents = (node.workspace.read(ref) for ref in node.talks("document"))
    summary = (node.file("description") / SUMMARY).read_text(encoding="utf-8")
    if node.config.plugin("recipe").options.reasoning == "drop":
        pairs = [pair.model_copy(update={"reasoning": None}) if pair.reasoning else pair for pair in pairs]
    rows, context = _rows(node), _context(node)
    return node.build(lambda out, _: write(kind, pairs, plan, node.config, documents, summary, out, rows, context))


def _rows(node: Node) -> dict[Split, list[ChatExample]]:
    """The rows of each split as they are trained on."""
    refs = {split: node.workspace.latest(split) for split in SPLITS}
    rows: dict[Split, list[ChatExample]] = {split: node.workspace.rows(ref) for split, ref in refs.items() if ref}
    return rows | ({"train": node.rows("augmented")} if "augmented" in node.inputs else {})


def _context(node: Node) -> Callable[[Pair], str]:
    """What of a pair's passages stands before its question."""
    ref = node.workspace.latest("passages") if node.config.composes else None
    passages = {passage.passage_id: passage for passage in node.workspace.rows(ref)} if ref else {}
    recipe: Recipe = node.config.plugin("recipe")
    return lambda pair: recipe.context(shown(pair, passages))


def write(
    kind: str,
    pairs: Sequence[Pair],
    plan: SplitPlan,
    config: Config,
    documents: Iterable[Document],
    summary: str,
    out: Path,
    rows: Mapping[Split, Sequence[ChatExample]] | None = None,
    context: Callable[[Pair], str] = lambda pair: "",
) -> FormatCard:
    """Fill the folder `out` with the dataset in format `kind`. Raises DatasetError, ConfigError."""
    files = formats.write(
        kind, pairs, plan, config.name, config.permission, out,
        documents=documents, licence=config.licence, summary=summary, rows=rows, context=context,
        training=_training(config, len(rows["train"]) if rows and "train" in rows else len(plan.splits["train"])),
    )  # fmt: skip
    return FormatCard(format=kind, files=sorted(file.relative_to(out).as_posix() for file in files))


def _training(config: Config, rows: int) -> Training:
    """What the preset sets for LoRA, with what is suggested for its base and so many rows where it sets nothing."""
    spec, trainer = config.trainer, config.plugin("trainer")
    lora = isinstance(trainer.options, LoraOptions)
    sizes = config.plugin("base").sizes()
    parameters = memory.model_of(sizes).parameters if sizes else TYPICAL_PARAMETERS
    options = suggest(parameters, rows).options | (dict(spec.options) if lora else {})
    filled = LoraOptions.model_validate({k: v for k, v in options.items() if k in LoraOptions.model_fields})
    rest = {k: v for k, v in options.items() if k not in LoraOptions.model_fields}
    repository = str(config.base.options.get("repository", "."))
    base = NO_REPOSITORY if Path(repository).exists() else repository  # a path means nothing on another machine
    return Training(base, config.seed, filled.model_dump() | rest)


def warn_of_stale_formats(workspace: Workspace) -> None:
    """Log a warning for formats that an earlier run wrote and the preset no longer names."""
    for folder in sorted((workspace.folder / "dataset" / "formats").glob("*/")):
        if folder.name not in workspace.config.formats:
            log.warning("%s is of an earlier run; delete it, or have it made again: formats=[%s]", folder, folder.name)
