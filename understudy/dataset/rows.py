"""From pairs to rows: the one place that says what a model is shown and what it is to answer."""

from collections.abc import Mapping, Sequence

from understudy.interfaces import Recipe
from understudy.records import ChatExample, Message, Pair, Passage


def row(pair: Pair, recipe: Recipe, passages: Mapping[str, Passage] | None = None) -> ChatExample:
    """The pair as a training row; `passages` holds those that it names, by id."""
    return ChatExample(
        messages=[*prompt(pair, recipe, passages), Message(role="assistant", content=_target(pair, recipe))]
    )


def prompt(pair: Pair, recipe: Recipe, passages: Mapping[str, Passage] | None = None) -> list[Message]:
    """What a model is shown before it answers."""
    return recipe.prompt(pair.question, shown(pair, passages))


def shown(pair: Pair, passages: Mapping[str, Passage] | None = None) -> Sequence[Passage]:
    """The passages that come with the question, in order."""
    return [(passages or {})[name] for name in pair.passages]


def _target(pair: Pair, recipe: Recipe) -> str:
    if pair.reasoning and recipe.options.reasoning == "train":
        return f"{pair.reasoning.strip()}\n\n{pair.answer}"
    return pair.answer
