"""A pair for tests of gates and split, and its row."""

from understudy import registry
from understudy.dataset.rows import row
from understudy.records import ChatExample, Pair

ANSWER = (
    "**Heat** moves from the hot thing to the cold thing, and never the other way.\n\n"
    "Think of it as a crowd that leaves a theatre by every door there is, until it is empty."
)


def pair(document_id: str = "talk", number: int = 1, question: str = "What is heat?", answer: str = ANSWER) -> Pair:
    """One kept pair."""
    return Pair(
        pair_id=f"{document_id}#{number}",
        document_id=document_id,
        title="T",
        published=None,
        question_number=number,
        question=question,
        answer=answer,
        tags=[],
        start_seconds=0.0,
        end_seconds=1.0,
        document_sha256="0",
        teacher="t",
        prompt_sha256=None,
        kept=True,
        gate=None,
        reason=None,
    )


def example(of: Pair) -> ChatExample:
    """The pair as a row of the recipe `teach`."""
    return row(of, registry.build("recipe", "teach", {}))
