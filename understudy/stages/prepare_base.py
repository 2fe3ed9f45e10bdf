"""Stage `prepare_base`: the start weights, in a Hugging Face folder."""

from collections.abc import Iterator
from pathlib import Path

from understudy import locks
from understudy.errors import ConfigError
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Progress
from understudy.records import AssetRef, BaseCard, SplitPlan

VERSION = 1


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str | None:
    """What is in the file that the preset only names; None where the preset says all."""
    contents: str | None = graph.config.plugin("base").contents()
    return contents


def materialize(node: Node) -> AssetRef:
    """The start weights; a base that is made of talks sees those of the train split only."""
    plugin = node.config.plugin("base")

    def prepare(out: Path, progress: Progress) -> BaseCard:
        with locks.only_training():
            card: BaseCard = plugin.prepare(
                list(_train_talks(node)) if plugin.needs_talks else [], out, node.config.seed, progress
            )
        if not plugin.needs_talks:  # one that was made here is known
            _require_export(node, out, progress)
        return card

    return node.build(prepare)


def _require_export(node: Node, folder: Path, progress: Progress) -> None:
    """Raise ConfigError for a base whose tuned copy no file could be written of: before it is trained."""
    progress(0, 1, "rehearsing the export")
    name = folder.name.removeprefix(".").removesuffix(".partial")
    problems = node.config.exporter().rehearse(folder, progress)
    if problems:
        raise ConfigError([f"base: {problem.replace(str(folder), name)}" for problem in problems])


def _train_talks(node: Node) -> Iterator[str]:
    plan: SplitPlan = node.read("split")
    held_out = {*plan.documents["valid"], *plan.documents["test"]} if plan.honest else set()
    for name in plan.documents["train"]:
        ref = node.workspace.latest("document", document=name)
        if ref and name not in held_out:
            yield node.workspace.read(ref).text
