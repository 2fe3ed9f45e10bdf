"""What a person reads: every decision has a sentence and a way on, and no number needs a course in statistics."""

from typing import get_args

import pytest

from tests.unit.report.test_page import card, evidence
from understudy.bases import suggest
from understudy.records import AdapterCard, BaseCard, CandidateScore, Decision, Interval, Scorecard, Word
from understudy.registry import PLUGINS, build
from understudy.report import LEARNED
from understudy.report.evidence import Evidence
from understudy.report.findings import MEANINGS, findings
from understudy.report.outcome import LOSSES, outcome
from understudy.scoring import verdicts
from understudy.scoring.verdicts import BUDGETS, FORGOT


def scorecard(name: str, word: Word, low: float, high: float) -> Scorecard:
    change = Interval(value=(low + high) / 2, low=low, high=high, n=9)
    return card().model_copy(update={"differences": {name: change}, "verdicts": {name: word}})


@pytest.mark.parametrize(
    ("name", "word", "low", "high", "sentence"),
    [
        ("broken", "not enough data", -0.32, 0.36, "too few questions to tell: between 36 points worse and 32 better"),
        ("broken", "worse", 0.03, 0.1, "worse by 3 to 10 points"),
        ("broken", "better", -0.1, -0.03, "better by 3 to 10 points"),
        ("instructions", "better", 0.03, 0.1, "better by 3 to 10 points"),
        ("instructions", "no worse", -0.03, 0.1, "at worst 3 points worse, too little to matter"),
        ("instructions", "no worse", -0.01, 0.1, "at worst 1 point worse, too little to matter"),
        ("choices", "no worse", 0.0, 0.0, "no difference"),
        ("nll_per_token", "better", -0.8, -0.5, "better by 0.50 to 0.80"),
        ("nll_end", "not enough data", 0.1, 0.2, "too few questions to tell: worse by 0.10 to 0.20"),
        ("style_gap_closed_teacher", "not enough data", -4.9, 4.7, "far too few questions to tell"),
        ("format_gap_closed", "better", 0.29, 0.88, "most likely between 29 and 88 %"),
        ("kl_general", "no worse", 0.01, 0.02, "most likely within what is allowed"),
        ("copied", "worse", 0.2, 0.4, "most likely more than is allowed"),
        ("copied", "not enough data", 0.01, 0.2, "too few questions to tell whether it stays within 5 %"),
        (
            "kl_general",
            "not enough data",
            0.3,
            0.4,
            "more than is allowed, but its base knows nothing that could be forgotten",
        ),
    ],
)
def test_an_interval_is_said_as_gain_and_loss(name: str, word: Word, low: float, high: float, sentence: str) -> None:
    (one,) = findings(scorecard(name, word, low, high))
    assert one.certainty == sentence


def test_values_are_told_apart_by_words_and_never_by_a_sign() -> None:
    text = " ".join(" ".join(one) for one in findings(card()))
    assert "was 3.00, now 2.00" in text and "lower is better" in text
    assert not {">", "<", "->", "→"} & set(text.split())


def test_everything_that_gets_a_verdict_has_a_meaning() -> None:
    metrics = {name for one in PLUGINS["metric"] for name in build("metric", one, {}).better}
    assert {*metrics, *LEARNED, *FORGOT, *BUDGETS} <= set(MEANINGS)


def decided(action: str, **changes: object) -> Evidence:
    shares = {"base": 0.6, "adapter": 0.5}
    broken = [
        CandidateScore(name=name, metrics={"broken": Interval(value=share, low=share, high=share, n=9)})
        for name, share in shares.items()
    ]
    decision = Decision(action=action, reasons=["better in nll_per_token"])  # type: ignore[arg-type]
    scores = card().model_copy(update={"decision": decision, "candidates": broken, **changes})
    adapter = AdapterCard.model_construct(settings={"learning_rate": 3e-4, "epochs": 2.0})
    return evidence()._replace(
        scorecard=scores,
        cards={"base": BaseCard(name="scratch", architecture="llama", parameters=5), "adapter": adapter},
    )


@pytest.mark.parametrize("action", get_args(Decision.model_fields["action"].annotation))
def test_every_decision_is_a_sentence_with_a_way_on(action: str) -> None:
    end = outcome(decided(action))
    assert end.headline and end.sentence.endswith((".", ".)")) and (action == "ship" or end.advice.endswith("."))
    assert "nll" not in end.verdict + end.advice


def test_what_only_suites_show_is_not_said_of_the_talks() -> None:
    end = outcome(decided("lower the learning rate", verdicts={"instructions": "worse"}))
    assert end.sentence == "It follows plain instructions less often."


def test_a_run_that_went_too_far_says_what_it_learned_and_what_it_lost() -> None:
    words = {"nll_per_token": "better", "choices": "worse", "kl_general": "worse"}
    end = outcome(decided("lower the learning rate", verdicts=words))
    assert end.sentence == (
        "On 40 questions from 4 talks that it was not trained on, it answers more like the teacher in wording, but it "
        "knows less of what its base knew and it moved further from its base on everything else than it should."
    )


def test_what_is_lost_has_words_of_its_own() -> None:
    assert set(verdicts._HARMS) == set(LOSSES)


def test_a_worked_run_says_in_what_it_is_better() -> None:
    end = outcome(decided("ship"))
    assert end.verdict == (
        "It worked: on 40 questions from 4 talks that it was not trained on, it answers more like the teacher than its "
        "base does in wording, and nothing that was measured got worse."
    )


def test_settings_are_suggested_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.memory.physical_bytes", lambda: 16 * 10**9)
    monkeypatch.setattr(suggest, "_has_gpu", lambda: True)
    assert outcome(decided("lower the learning rate")).change == "--set trainer.learning_rate=1.0e-04"
    assert outcome(decided("train longer")).change == "--set trainer.epochs=4"
    end = outcome(decided("take a better base"))
    assert end.change.startswith("--base ") and end.change.removeprefix("--base ") in end.advice
    assert "50 % of its answers are broken (empty, endless or repeating), as are 60 % of its base's" in end.sentence


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("gigabytes", [4, 8, 16, 64])
def test_a_larger_machine_is_never_told_a_smaller_base(
    gigabytes: int, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr(suggest, "_has_gpu", lambda: gpu)
    for bytes_here in (gigabytes * 10**9, 2 * gigabytes * 10**9):
        monkeypatch.setattr("understudy.memory.physical_bytes", lambda bytes_here=bytes_here: bytes_here)
        better = suggest.better_than(1_000_000)
        sizes.append(better.parameters if better else 0)
        assert better is None or better.bytes < bytes_here
    assert sizes == sorted(sizes)


def test_no_base_is_suggested_where_none_is_larger_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.memory.physical_bytes", lambda: 10**9)
    assert suggest.better_than(0) is None
    end = outcome(decided("take a better base"))
    assert end.change == "" and "no larger tested one fits this machine" in end.advice


def test_a_split_that_leaks_is_the_verdict() -> None:
    assert outcome(decided("more data", honest=False)).headline == "Too little data to say"
