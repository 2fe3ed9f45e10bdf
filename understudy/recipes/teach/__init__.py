"""The recipe of a teacher's talks: questions from a talk, then answers to all of them."""

from collections.abc import Sequence

from understudy.recipes import BaseRecipe
from understudy.records import Message, Passage
from understudy.sections import FREE_GATES, METRICS


class TeachRecipe(BaseRecipe):
    """A question alone, and the answer in the teacher's manner."""

    VERSION = 1
    GATES = FREE_GATES
    METRICS = METRICS

    def system(self) -> str | None:
        """None: the manner is in the weights."""
        return None

    def context(self, passages: Sequence[Passage]) -> str:
        """Nothing stands before the question."""
        return ""

    def prompt(self, question: str, passages: Sequence[Passage] = ()) -> list[Message]:
        """The question."""
        return [Message(role="user", content=question)]
