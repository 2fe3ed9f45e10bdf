"""
Questions to a model that answers from given texts: with passages, in the very prompt that its rows had.

Recipe and passages are those of the run's own preset and channel; nothing else is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy import registry, store
from understudy.catalog import CATALOG
from understudy.errors import AssetError, ConfigError
from understudy.interfaces import Recipe
from understudy.records import Message, Passage, RunRecord
from understudy.retrieval.index import Index
from understudy.text.citations import cited


class Retriever:
    """The passages of a channel, and how its model is asked about them."""

    def __init__(self, recipe: Recipe, passages: Sequence[Passage]) -> None:
        self.recipe, self.index = recipe, Index(passages)

    def find(self, question: str) -> list[Passage]:
        """The passages for a question, best first."""
        return [hit.passage for hit in self.index.search(question, self.recipe.options.per_question)]

    def prompt(self, question: str, passages: Sequence[Passage]) -> list[Message]:
        """What the model is shown."""
        return self.recipe.prompt(question, passages)

    def marked(self, answer: str, passages: Sequence[Passage]) -> str:
        """What an answer cites, as a line; '' for one that cites nothing."""
        if not self.recipe.retrieves:
            return ""
        every = {passage.title for passage in self.index.passages}
        names = cited(answer, [passage.title for passage in passages], self.recipe.options.citation, every)
        parts = [f"cites {', '.join(names.known)}"] if names.known else []
        parts += [f"cites {', '.join(names.unknown)}, which it was not shown"] if names.unknown else []
        return "; ".join(parts)


def answers_from_texts(gguf: Path) -> bool:
    """Whether the file is of a run whose model answers from passages."""
    recipe = _recipe(gguf)
    return bool(recipe and registry.resolve("recipe", recipe["use"]).retrieves)


def retriever(gguf: Path) -> Retriever:
    """For an exported file of a run. Raises ConfigError when its recipe has no passages, or they are not here."""
    spec = _recipe(gguf)
    if spec is None or not registry.resolve("recipe", spec["use"]).composes:
        raise ConfigError(
            [f"{gguf.name} was not tuned to answer from given texts; use --no-retrieve, or tune with recipe: grounded"]
        )
    home, channel = gguf.parents[4], gguf.parents[2].name
    path = CATALOG["passages"].path.format(channel=channel)
    ref = store.latest(home, path)
    if ref is None:
        raise ConfigError([f"{home / path} is not here: run the channel's dataset, or pull it (understudy pull)"])
    options = {key: value for key, value in spec.items() if key != "use"}
    return Retriever(registry.build("recipe", spec["use"], options), list(store.read_rows(home, ref, Passage)))


def _recipe(gguf: Path) -> dict[str, Any] | None:
    """The recipe that the file's run was made with; None for a file of no run, or of one before there were recipes."""
    record = gguf.parent.parent / "run.json"
    if gguf.parent.name != "gguf" or not record.is_file():
        return None
    try:
        settings = RunRecord.model_validate_json(record.read_bytes()).settings
    except ValueError as error:
        raise AssetError(f"{record} cannot be read: {error}") from None
    recipe = settings.get("recipe")
    return recipe if isinstance(recipe, dict) else None
