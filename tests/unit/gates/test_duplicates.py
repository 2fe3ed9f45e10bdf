"""The gate keeps one of the questions that ask the same, and all that only look alike."""

import pytest

from tests.unit.pairs import pair
from understudy.gates.duplicates import DuplicatesGate
from understudy.records import Pair


def refused(*questions: str) -> list[bool]:
    pairs = [
        Pair(
            pair_id=f"talk#{number}", document_id="talk", title="T", published=None, question_number=number,
            question=question, answer=f"Heat **moves**.\n\nIt does, {number}.", tags=[], start_seconds=None,
            end_seconds=None, document_sha256="0", teacher="t", prompt_sha256=None, kept=True, gate=None, reason=None,
        )
        for number, question in enumerate(questions, 1)
    ]  # fmt: skip
    gate = DuplicatesGate(DuplicatesGate.Options())
    gate.study(pairs)
    return [gate.judge(pair) is not None for pair in pairs]


def test_of_one_answer_to_many_questions_the_one_it_fits_stays() -> None:
    questions = ["How is a violin tuned?", "How is a cello bow cleaned?", "How is a drum skin changed?"]
    pairs = [pair("t", n, q, "Wipe the **bow** of the cello\n\nwith a dry cloth.") for n, q in enumerate(questions)]
    gate = DuplicatesGate(DuplicatesGate.Options())
    gate.study([*pairs, pair("t", 9)])
    assert [gate.judge(one) is None for one in [*pairs, pair("t", 9)]] == [False, True, False, True]
    assert gate.judge(pairs[0]) == "the same answer as t#1, which asks something else"


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
