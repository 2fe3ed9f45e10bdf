"""The words of the scorecard: what they may be said of, and how rarely they are wrong."""

import numpy as np
import pytest

from understudy.errors import AssetError
from understudy.records import ChatExample, Interval, Leakage, Message, Pair, Sample, Scorecard, SplitPlan
from understudy.registry import PLUGINS, build
from understudy.stages.evaluate import MARGINS, score, tokens_per_second, verdict

GOOD, BAD = "A **flame** is hot gas.\n\nIt glows.", "hot"


def rows(talks: int, each: int) -> list[tuple[Pair, ChatExample]]:
    found = []
    for talk in range(talks):
        for number in range(1, each + 1):
            pair = Pair(
                pair_id=f"t{talk}#{number}",
                document_id=f"t{talk}",
                title="",
                published=None,
                question_number=number,
                question="?",
                answer="!",
                tags=[],
                start_seconds=None,
                end_seconds=None,
                document_sha256="",
                teacher="",
                prompt_sha256=None,
                kept=True,
                gate=None,
                reason=None,
            )
            found.append((pair, ChatExample(messages=[Message(role="user", content="?")])))
    return found


def samples(held: list[tuple[Pair, ChatExample]], nll: np.ndarray, good: np.ndarray) -> list[Sample]:
    return [
        Sample(
            pair_id=pair.pair_id,
            document_id=pair.document_id,
            nll=100 * loss,
            tokens=100,
            text=GOOD if fine else BAD,
            new_tokens=50,
            stopped=True,
            seconds=0.5,
        )
        for (pair, _), loss, fine in zip(held, nll, good, strict=True)
    ]


def planted(
    seed: int, talks: int = 12, each: int = 5, gain: float = 0.0, good: float = 0.5, honest: bool = True
) -> Scorecard:
    """A scorecard where the tuned model is `gain` nats better, with talks that differ in how much."""
    rng, held = np.random.default_rng(seed), rows(talks, each)
    base = 2.5 + rng.normal(scale=0.3, size=len(held))
    change = np.repeat(rng.normal(scale=0.05, size=talks), each) + rng.normal(scale=0.1, size=len(held)) - gain
    candidates = {
        "base": samples(held, base, rng.random(len(held)) < 0.5),
        "adapter": samples(held, base + change, rng.random(len(held)) < good),
    }
    ids = [pair.pair_id for pair, _ in held]
    split = SplitPlan(
        sides={"train": [], "valid": [], "test": ids},
        documents={"train": [], "valid": [], "test": []},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=honest,
    )
    metrics = {name: build("metric", name, {}) for name in ("nll", "formatting")}
    return score("candles", "r1", split, held, candidates, {"base": 7}, metrics, seed, "abc")


@pytest.mark.parametrize("talks", [2, 3, 5, 12])
def test_no_effect_is_called_better_at_most_5_times_in_100(talks: int) -> None:
    cards = [planted(seed, talks=talks) for seed in range(100)]
    for name in ("nll_per_token", "well_formatted"):
        assert sum(card.verdicts[name] == "better" for card in cards) <= 5
        assert sum(card.verdicts[name] == "worse" for card in cards) <= 5


def test_a_large_effect_is_called_better() -> None:
    card = planted(0, gain=0.5, good=1.0)
    assert card.verdicts == {"nll_per_token": "better", "well_formatted": "better"}
    assert card.candidates[0].bytes == 7 and card.candidates[1].bytes is None
    assert (card.test_pairs, card.test_documents) == (60, 12)


def test_a_large_harm_is_called_worse() -> None:
    assert planted(0, gain=-0.5, good=0.0).verdicts == {"nll_per_token": "worse", "well_formatted": "worse"}


@pytest.mark.parametrize("shape", [{"honest": False}, {"talks": 1, "each": 50}, {"talks": 2, "each": 2}])
def test_too_little_or_dishonest_data_never_give_a_verdict(shape: dict[str, int]) -> None:
    card = planted(0, gain=5.0, good=1.0, **shape)  # type: ignore[arg-type]
    assert set(card.verdicts.values()) == {"not enough data"}


@pytest.mark.parametrize(
    ("low", "high", "better", "word"),
    [
        (-0.2, -0.1, "lower", "better"),
        (-0.2, -0.1, "higher", "worse"),
        (0.1, 0.2, "higher", "better"),
        (0.1, 0.2, "lower", "worse"),
        (-0.2, 0.04, "lower", "no worse"),
        (-0.04, 0.2, "higher", "no worse"),
        (-0.2, 0.06, "lower", "not enough data"),
        (-0.06, 0.2, "higher", "not enough data"),
        (0.0, 0.0, "lower", "no worse"),
        (0.01, 0.02, "lower", "worse"),
    ],
)
def test_words_follow_from_the_interval(low: float, high: float, better: str, word: str) -> None:
    interval = Interval(value=(low + high) / 2, low=low, high=high, n=100)
    assert verdict(interval, better, 0.05) == word  # type: ignore[arg-type]


def test_without_a_margin_nothing_is_no_worse() -> None:
    assert verdict(Interval(value=0, low=0, high=0, n=100), "lower", None) == "not enough data"


def test_every_headline_has_a_margin() -> None:
    assert set(MARGINS) == {name for metric in PLUGINS["metric"] for name in build("metric", metric, {}).better}


def test_samples_of_other_rows_are_refused() -> None:
    held = rows(3, 2)
    ones = np.ones(6)
    split = SplitPlan(
        sides={}, documents={}, leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0), honest=True
    )
    whole = samples(held, ones, ones > 0)
    for wrong in ({"base": whole}, {"base": whole, "adapter": whole[:-1]}, {"base": whole[::-1], "adapter": whole}):
        with pytest.raises(AssetError):
            score("c", "r", split, held, wrong, {}, {}, 0, "abc")


def test_speed_is_tokens_over_seconds_of_answered_rows() -> None:
    held = rows(1, 2)
    assert tokens_per_second(samples(held, np.ones(2), np.ones(2) > 0)) == pytest.approx(100)
    assert tokens_per_second([Sample(pair_id="a#1", document_id="a", nll=1, tokens=1)]) is None
