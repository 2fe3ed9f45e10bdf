"""A challenger takes the champion's place when it is better in something and worse in nothing."""

from typing import Any

import pytest

from understudy.metrics.nll import NllMetric
from understudy.records import ChatExample, Interval, Message, Sample, Scorecard
from understudy.stages import promote


def card(**verdicts: Any) -> Scorecard:
    differences = {name: Interval(value=-0.1, low=-0.2, high=-0.05, n=20) for name in verdicts}
    return Scorecard.model_validate(
        {
            "channel": "tea", "run": "bbbbbbbb", "test_pairs": 20, "test_documents": 4, "test_sha256": "0" * 64,
            "candidates": [], "differences": differences, "verdicts": verdicts, "honest": True,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "promoted", "reason"),
    [
        ({"nll": "better", "form": "no worse"}, True, "nll: better (-0.100, from -0.200 to -0.050)"),
        ({"nll": "better", "form": "better"}, True, "form: better"),
        ({"nll": "no worse", "form": "no worse"}, False, "better in nothing"),
        ({"nll": "better", "form": "worse"}, False, "form: worse"),
        ({"nll": "better", "broken": "not enough data"}, False, "broken: not enough data"),
        ({"nll": "better", "style_gap_closed_talks": "not enough data"}, True, "nll: better"),
        ({}, False, "no number could be compared"),
    ],
)
def test_no_number_may_be_worse_and_one_must_be_better(verdicts: dict[str, str], promoted: bool, reason: str) -> None:
    challenge = promote.against_champion(card(**verdicts), "aaaaaaaa")
    assert challenge.promoted is promoted and reason in "; ".join(challenge.reasons)
    assert "is the champion now" in promote.table(challenge) if promoted else "is refused" in promote.table(challenge)


def test_the_first_model_is_taken_unless_it_is_worse_than_its_base() -> None:
    assert promote.against_base(card(nll="not enough data")).promoted
    assert not promote.against_base(card(nll="better", form="worse")).promoted


def test_a_first_model_is_not_refused_for_its_drift_alone() -> None:
    assert promote.against_base(card(nll="better", kl_general="worse")).promoted


def sample(nll: float, tokens: int) -> Sample:
    return Sample(pair_id="a#1", document_id="a", nll=nll, tokens=tokens)


def test_two_tokenizers_are_compared_over_one_length() -> None:
    champion, challenger = [sample(30.0, 10)], [sample(24.0, 30)]
    samples = promote.on_the_champions_tokens(challenger, champion)
    metric = NllMetric(NllMetric.Options())
    assert metric.compare(samples, champion, 0)["nll_per_token"].value == pytest.approx(-0.6)


def test_rows_are_known_by_their_words_not_by_their_place() -> None:
    rows = [ChatExample(messages=[Message(role="user", content=str(n))]) for n in range(5)]
    before, now = promote.trained_on(rows[:3]), promote.trained_on([*reversed(rows)])
    assert promote.new_rows(now, before) == 2 and promote.new_rows(before, now) == 0
