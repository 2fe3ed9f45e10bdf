"""The prompts of each candidate: the held-out question alone, or after a style prompt and three examples.

The base with examples is the honest baseline: what anyone gets without training.
"""

import hashlib
import statistics
from collections.abc import Sequence

from understudy.errors import DatasetError
from understudy.records import ChatExample, Message, Pair

EXAMPLES = 3
STYLE = (
    "You answer questions in the manner of one particular teacher. The examples show that manner: the same length, the "
    "same form, the same voice. Answer the last question exactly so."
)

Row = tuple[Pair, ChatExample]


def examples(train: Sequence[Row], seed: int) -> list[Row]:
    """Three train rows of about the median length, from three talks where there are as many; drawn by `seed`.

    Raises DatasetError for an empty train split.
    """
    if not train:
        raise DatasetError("the base is shown examples from the train split, which has no row; give more talks")
    median = statistics.median(len(pair.answer) for pair, _ in train)
    usual = sorted(train, key=lambda row: (abs(len(row[0].answer) - median), row[0].pair_id))
    usual = usual[: max(EXAMPLES, len(usual) // 2)]
    drawn = sorted(usual, key=lambda row: hashlib.sha256(f"{seed}/{row[0].pair_id}".encode()).digest())
    first_of_talk = {pair.document_id: (pair, row) for pair, row in reversed(drawn)}
    spread = sorted(first_of_talk.values(), key=drawn.index)
    rest = [row for row in drawn if row not in spread]
    return [*spread, *rest][:EXAMPLES]


def prompted(row: ChatExample, shown: Sequence[Row]) -> ChatExample:
    """`row` after the style prompt and the examples; a system text of its own comes before the style prompt.

    The answer stays the last turn, so that its loss is taken over the same words as the plain base's.
    """
    system = [message.content for message in row.messages if message.role == "system"]
    turns = [message for _, example in shown for message in example.messages if message.role != "system"]
    own = [message for message in row.messages if message.role != "system"]
    return ChatExample(messages=[Message(role="system", content="\n\n".join([*system, STYLE])), *turns, *own])


def prompted_rows(held_out: Sequence[Row], train: Sequence[Row], seed: int) -> list[Row]:
    """Every held-out row as the prompt of the base with examples. Raises DatasetError for a talk in both splits."""
    shown = examples(train, seed)
    if shared := {p.document_id for p, _ in shown} & {p.document_id for p, _ in held_out}:
        raise DatasetError(
            f"an example would come from held-out talk {min(shared)!r}; take the examples from train alone"
        )
    return [(pair, prompted(row, shown)) for pair, row in held_out]


def question(row: ChatExample) -> list[Message]:
    """The conversation up to the answer: what a model is to continue."""
    last = row.messages[-1]
    return list(row.messages[:-1]) if last.role == "assistant" else list(row.messages)
