"""By heart or with passages: which of four ways is named, and what was held out how, on answers that are known."""

from collections.abc import Sequence

import pytest

from tests.unit.pairs import pair
from understudy.records import ARMS, AgainstRetrieval, Leakage, Pair, Sample, SplitPlan
from understudy.scoring.arms import Costs, Grading, Search, against_retrieval, by_basis

PAIRS = [
    pair(f"s{at // 4}", at, f"How far does rule {at} go?", f"It goes to {500 + at} marks.").model_copy(
        update={"keywords": [[str(500 + at)]]}
    )
    for at in range(48)
]
SEARCH = Search(passages=12, per_question=3, hits={one.pair_id: True for one in PAIRS}, seconds=0.5)


def samples(right: int, seconds: float = 1.0, tokens: int = 100, pairs: Sequence[Pair] = PAIRS) -> list[Sample]:
    """Every first `right` of twelve answers is right."""
    return [
        Sample(
            pair_id=one.pair_id, document_id=one.document_id, nll=20.0, tokens=10, new_tokens=20, stopped=True,
            text=one.answer if at % 12 < right else "It goes to 7 marks.", seconds=seconds, prompt_tokens=tokens,
        )
        for at, one in enumerate(pairs)
    ]  # fmt: skip


def compared(rights: Sequence[int], costs: Costs = Costs(), grading: Grading | None = None) -> AgainstRetrieval:  # noqa: B008
    """The comparison of four ways that are right in so many of twelve answers; passages take twice the time."""
    rows = {
        name: samples(right, 1.0 if at < 2 else 2.0, 100 if at < 2 else 900)
        for at, (name, right) in enumerate(zip(ARMS, rights, strict=True))
    }
    found = against_retrieval(PAIRS, rows, SEARCH, costs, grading, 3)
    assert found
    return found


@pytest.mark.parametrize(
    ("rights", "best"),
    [((1, 3, 10, 6), "base-passages"), ((1, 11, 4, 6), "adapter"), ((1, 3, 6, 11), "adapter-passages")],
)
def test_the_way_that_is_right_most_often_is_named(rights: tuple[int, ...], best: str) -> None:
    found = compared(rights)
    assert found.best == best and found.sentence.startswith("Take ")
    assert f"{100 * max(rights) / 12:.0f} %" in found.sentence


def test_of_two_that_are_equally_right_the_faster_is_named() -> None:
    found = compared((1, 11, 11, 11))
    assert found.best == "adapter" and "No" not in found.sentence
    assert "rely" not in found.sentence and "relied on" in compared((0, 1, 2, 1)).sentence


def test_a_judge_decides_where_there_is_one() -> None:
    right = {(name, one.pair_id): name == "adapter-passages" for name in ARMS for one in PAIRS}
    found = compared((1, 11, 4, 6), grading=Grading("judge", right, "of one family"))
    assert (found.best, found.grader, found.warning) == ("adapter-passages", "judge", "of one family")
    assert next(arm for arm in found.arms if arm.name == "adapter-passages").graded


def test_prices_are_those_given_and_none_is_guessed() -> None:
    assert all(not arm.usd_per_1000 for arm in compared((1, 2, 3, 4)).arms)
    costs = Costs(input_usd=1.0, output_usd=4.0, watts=36.0, usd_per_kwh=0.5, usd_per_hour=3.6, setup_usd=2.0)
    by_name = {arm.name: arm.usd_per_1000 for arm in compared((1, 2, 3, 4), costs).arms}
    assert by_name["base"]["an API"].value == pytest.approx((100 * 1 + 20 * 4) / 1000)
    assert by_name["base"]["this machine"].value == pytest.approx(36 / 1000 / 3600 * 0.5 * 1000)
    assert by_name["base-passages"]["a rented machine"].value == pytest.approx((2.0 + 0.5) / 3600 * 3.6 * 1000)
    even = compared((1, 2, 3, 4), costs).break_even["an API"]
    assert even == pytest.approx(2.0 / (0.8 / 1000))


def test_recall_and_generalization_are_told_apart() -> None:
    recall = [one.pair_id for one in PAIRS[:24]]
    plan = SplitPlan(
        splits={"train": [], "valid": [], "test": [one.pair_id for one in PAIRS]},
        documents={"train": [], "valid": [], "test": sorted({one.document_id for one in PAIRS})},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
        recall=recall,
    )
    rows = {"base": samples(1), "adapter": [*samples(11)[:24], *samples(1)[24:]]}
    scores = {score.basis: score for score in by_basis(PAIRS, plan, rows, 3)}
    assert set(scores) == {"section", "question"} and all(score.questions == 24 for score in scores.values())
    assert scores["question"].differences["correct"].low > 0.5
    assert scores["section"].differences["correct"].value == 0
