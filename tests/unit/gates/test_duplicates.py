"""The gate keeps one of the questions that ask the same, and all that only look alike."""

import pytest

from understudy.gates.duplicates import DuplicatesGate
from understudy.records import Pair


def refused(*questions: str) -> list[bool]:
    pairs = [
        Pair(
            pair_id=f"talk#{number}", document_id="talk", title="T", published=None, question_number=number,
            question=question, answer="Heat **moves**.\n\nIt does.", tags=[], start_seconds=None, end_seconds=None,
            document_sha256="0", teacher="t", prompt_sha256=None, kept=True, gate=None, reason=None,
        )
        for number, question in enumerate(questions, 1)
    ]  # fmt: skip
    gate = DuplicatesGate(DuplicatesGate.Options())
    gate.study(pairs)
    return [gate.judge(pair) is not None for pair in pairs]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is C good at?", "What is C++ good at?"),
        ("What does == mean here?", "What does === mean here?"),
        ("Why learn .NET?", "Why learn net?"),
    ],
)
def test_questions_that_differ_in_signs_alone_are_both_kept(a: str, b: str) -> None:
    assert refused(a, b) == [False, False]


def test_an_opener_makes_no_new_question() -> None:
    assert refused("How does a tide rise?", "Could you tell me how a tide rises?") == [False, True]
