"""The words of the scorecard: what they may be said of, and how rarely they are wrong."""

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.scorecard import EFFECTS
from benchmarks.scorecard import planted as planted_effect
from understudy.errors import AssetError
from understudy.interfaces import References
from understudy.records import (
    SCORECARD_VERSION,
    ChatExample,
    Divergence,
    Interval,
    Leakage,
    Message,
    Pair,
    Sample,
    Scorecard,
    SplitPlan,
)
from understudy.registry import PLUGINS, build
from understudy.scoring.suites.retrieval import Outcome
from understudy.scoring.verdicts import BUDGETS, MARGINS, verdict
from understudy.stages.evaluate import NOTHING_MORE, Extras, fair_comparisons, score, tokens_per_second

GOOD, BAD = "A **flame** is hot gas.\n\nIt glows.", "hot"


def rows(talks: int, each: int) -> list[tuple[Pair, ChatExample]]:
    held = []
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
            held.append((pair, ChatExample(messages=[Message(role="user", content="?")])))
    return held


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


def honest_split(held: list[tuple[Pair, ChatExample]]) -> SplitPlan:
    return SplitPlan(
        splits={"train": [], "valid": [], "test": [pair.pair_id for pair, _ in held]},
        documents={"train": [], "valid": [], "test": []},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )


def planted(
    seed: int,
    talks: int = 12,
    each: int = 5,
    gain: float = 0.0,
    good: float = 0.5,
    honest: bool = True,
    extras: Extras = NOTHING_MORE,
) -> Scorecard:
    """A scorecard where the tuned model is `gain` nats better, with talks that differ in how much."""
    rng, held = np.random.default_rng(seed), rows(talks, each)
    base = 2.5 + rng.normal(scale=0.3, size=len(held))
    change = np.repeat(rng.normal(scale=0.05, size=talks), each) + rng.normal(scale=0.1, size=len(held)) - gain
    candidates = {
        "base": samples(held, base, rng.random(len(held)) < 0.5),
        "adapter": samples(held, base + change, rng.random(len(held)) < good),
    }
    split = honest_split(held).model_copy(update={"honest": honest})
    metrics = {name: build("metric", name, {}) for name in ("nll", "formatting")}
    return score("candles", "r1", split, held, candidates, {"base": 7}, metrics, seed, "abc", extras)


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
    assert {name for metric in PLUGINS["metric"] for name in build("metric", metric, {}).better} <= {*MARGINS, *BUDGETS}


@pytest.mark.parametrize("name", EFFECTS)
def test_what_was_planted_is_what_is_said_and_decided(name: str) -> None:
    effect = EFFECTS[name]
    card = planted_effect(effect, 3)
    assert effect.words.items() <= card.verdicts.items()
    assert card.decision and card.decision.action == effect.action
    assert card.version == SCORECARD_VERSION and card.p_values["instructions"] <= 1


def test_forgetting_is_told_whatever_the_split_was() -> None:
    answers = {"base": {str(i): True for i in range(60)}, "adapter": {str(i): i % 2 == 0 for i in range(60)}}
    extras = Extras(
        outcomes={"instructions": answers},
        drift={"general": [(str(i), Divergence(nats=30.0, tokens=60)) for i in range(20)]},
        retrieval={
            side: {str(i): Outcome(False, False, share, True) for i in range(9)}
            for side, share in (("base", 0.9), ("adapter", 0.1))
        },
    )
    card = planted(0, honest=False, extras=extras)
    assert card.verdicts["nll_per_token"] == "not enough data"
    assert card.verdicts["instructions"] == card.verdicts["kl_general"] == card.verdicts["keyword_coverage"] == "worse"
    assert card.candidates[0].metrics["instructions"].value == 1 and card.p_values["instructions"] < 1e-6
    assert card.candidates[1].metrics["keyword_coverage"].value == pytest.approx(0.1)


@pytest.mark.parametrize(("known", "word"), [(90, "worse"), (30, "not enough data")])
def test_a_base_that_only_guesses_has_nothing_to_forget(known: int, word: str) -> None:
    answers = {str(i): i < known for i in range(100)}
    extras = Extras(
        outcomes={"choices": {"base": answers, "adapter": answers}},
        drift={"general": [(str(i), Divergence(nats=30.0, tokens=60)) for i in range(20)]},
    )
    card = planted(0, honest=True, extras=extras)
    assert card.verdicts["kl_general"] == word
    assert any("no better than chance" in note for note in card.notes) == (word != "worse")


def test_base_and_tuned_are_also_compared_at_one_quantization_and_with_the_prompted_base() -> None:
    names = ["base", "base-prompted", "adapter", "fused", "Q8_0", "base-Q8_0", "Q4_K_M"]
    assert fair_comparisons(names) == [("adapter", "base-prompted"), ("Q8_0", "base-Q8_0")]
    held, rng = rows(12, 5), np.random.default_rng(0)
    better = {"adapter", "Q8_0"}
    answers = {n: samples(held, rng.normal(1.5 if n in better else 2.5, 0.1, 60), rng.random(60) < 0.5) for n in names}
    card = score("c", "r", honest_split(held), held, answers, {}, {"nll": build("metric", "nll", {})}, 0, "abc")
    assert [(one.tuned, one.base, one.verdicts["nll_per_token"]) for one in card.baselines] == [
        ("adapter", "base-prompted", "better"),
        ("Q8_0", "base-Q8_0", "better"),
    ]


@pytest.mark.parametrize(
    ("talks", "text", "note"),
    [
        (1, "A word.", "1 held-out talk: no conclusion about other talks"),
        (6, " ", "base wrote nothing in 30 of 30 answers"),
        (6, None, "base gave no answer"),
    ],
)
def test_what_cannot_be_measured_is_named(talks: int, text: str | None, note: str) -> None:
    held = rows(talks, 5)
    ones = np.ones(len(held))
    base = [sample.model_copy(update={"text": text}) for sample in samples(held, ones, ones > 0)]
    answers = {"base": base, "adapter": samples(held, ones - 0.5, ones > 0)}
    metrics = {name: build("metric", name, {}) for name in PLUGINS["metric"]}
    references = References(train=[pair for pair, _ in rows(6, 5)], held_out=[pair for pair, _ in held])
    card = score("c", "r", honest_split(held), held, answers, {}, metrics, 0, "abc", Extras(references=references))
    assert any(line.startswith(note) for line in card.notes), card.notes
    assert any("instructions, choices, off_topic" in line for line in card.notes)
    if talks == 1:
        assert set(card.verdicts.values()) == {"not enough data"}


def test_a_scorecard_of_the_first_format_is_read_and_a_future_one_refused() -> None:
    card = planted(0)
    old = card.model_dump(exclude={"version", "judge", "phrases", "p_values", "baselines", "decision", "notes"})
    assert Scorecard.model_validate(old).version == 1
    with pytest.raises(ValidationError, match="format 99, this program reads up to 2"):
        Scorecard.model_validate(card.model_dump() | {"version": 99})


def test_samples_of_other_rows_are_refused() -> None:
    held = rows(3, 2)
    ones = np.ones(6)
    split = SplitPlan(
        splits={}, documents={}, leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0), honest=True
    )
    whole = samples(held, ones, ones > 0)
    for wrong in ({"base": whole}, {"base": whole, "adapter": whole[:-1]}, {"base": whole[::-1], "adapter": whole}):
        with pytest.raises(AssetError):
            score("c", "r", split, held, wrong, {}, {}, 0, "abc")


def test_speed_is_tokens_over_seconds_of_answered_rows() -> None:
    held = rows(1, 2)
    assert tokens_per_second(samples(held, np.ones(2), np.ones(2) > 0)) == pytest.approx(100)
    assert tokens_per_second([Sample(pair_id="a#1", document_id="a", nll=1, tokens=1)]) is None
