"""Each gate refuses what it is there for, says why, and leaves a good pair alone."""

import pytest

from tests.unit.pairs import pair
from understudy.errors import DatasetError
from understudy.registry import PLUGINS, build
from understudy.stages import gate as gating


def quiet(done: int, total: int, note: str = "") -> None:
    """Nobody watches."""


def verdict(name: str, *pairs: object, **options: object) -> list[str | None]:
    gate = build("gate", name, options)
    gate.study(pairs)
    return [gate.judge(p) for p in pairs]


@pytest.mark.parametrize("name", PLUGINS["gate"])
def test_every_gate_keeps_a_good_pair(name: str) -> None:
    assert verdict(name, pair()) == [None]


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("length", {"answer": "Too **short**.\n\nYes."}, "3 words, fewer than 25"),
        ("length", {"answer": "word " * 700}, "700 words, more than 600"),
        ("formatting", {"answer": "word " * 120 + "."}, "wall of text"),
        ("formatting", {"answer": "An **open mark.\n\nAnd more."}, "\\*\\*"),
        ("mentions", {"answer": "As the transcript says, heat moves."}, "answer says 'the transcript'"),
        ("mentions", {"question": "What does the speaker think of heat?"}, "question says 'the speaker'"),
    ],
)
def test_a_bad_pair_is_refused_with_the_reason(name: str, changes: dict[str, str], reason: str) -> None:
    [found] = verdict(name, pair(**changes))
    assert found is not None
    assert __import__("re").search(reason, found)


def test_of_two_twins_the_longer_answer_stays() -> None:
    short = pair("a", 1, "Why does bread dough rise?", "Gas **lifts** it.")
    long = pair("b", 1, "Why does the bread dough rise?")
    assert verdict("duplicates", short, long) == ["near-duplicate of b#1", None]


def test_the_first_gate_that_refuses_names_the_reason_and_rejects_are_kept() -> None:
    gates = [(name, build("gate", name, {})) for name in ("length", "mentions")]
    bad = pair("b", 1, "What does the speaker say?", "Short, says the transcript.")
    kept, refused = gating.judge([pair(), bad], gates, quiet)
    assert kept.kept and (refused.kept, refused.gate) == (False, "length")
    assert gating.verdicts([kept, refused])["b"].verdicts[0].reason == refused.reason


def test_when_nothing_is_left_the_gate_that_ate_it_is_named() -> None:
    with pytest.raises(DatasetError, match="length refused 1"):
        gating.judge([pair(answer="No.")], [("length", build("gate", "length", {}))], quiet)
