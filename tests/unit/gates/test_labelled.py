"""The gates against labelled answers in many languages: nothing good is lost, nearly all that is bad is refused."""

from collections import Counter

import pytest

from tests.fixtures.labelled_answers import GATES, outcome, refusals, rows
from understudy.sections import FREE_GATES

EVERY = rows()
BLIND = rows("blind")


@pytest.mark.parametrize("gate", GATES)
def test_no_good_answer_is_refused_in_any_language(gate: str) -> None:
    wrong = {row.pair.question: reason for row, reason in refusals(EVERY, gate) if row.gate is None and reason}
    assert wrong == {}


@pytest.mark.parametrize("gate", GATES)
def test_what_a_gate_is_for_is_refused_in_answers_it_was_not_tuned_on(gate: str) -> None:
    result = outcome(BLIND, gate)
    assert result.precision >= 0.97 and result.recall >= 0.9, result


def test_the_labelled_answers_are_many_in_every_language_and_for_every_gate() -> None:
    assert len(EVERY) >= 300 and len(BLIND) >= 150
    languages = Counter(row.language for row in BLIND)
    assert sum(count >= 10 for count in languages.values()) >= 12
    assert all(sum(row.gate == gate for row in BLIND) >= 10 for gate in GATES)


def test_every_gate_that_is_on_by_default_is_measured_here() -> None:
    assert set(FREE_GATES) - set(GATES) == {"duplicates"}
