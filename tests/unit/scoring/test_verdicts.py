"""What is decided from which words: a table, and what may never be shipped."""

from itertools import product

import pytest

from understudy.records import AdapterCard, CandidateScore, Interval, JudgeScore, ParityCheck, ParityReport, Word
from understudy.scoring.verdicts import BUDGETS, decide, export_defects, judged, within


def at(value: float, half: float = 0.01, n: int = 100) -> Interval:
    return Interval(value=value, low=value - half, high=value + half, n=n)


def candidates(broken: float = 0.0, base_broken: float = 0.0, **losses: float) -> list[CandidateScore]:
    nlls = {"base": 3.0, "adapter": 2.0} | losses
    return [
        CandidateScore(
            name=name, metrics={"nll_per_token": at(nll), "broken": at(base_broken if name == "base" else broken)}
        )
        for name, nll in nlls.items()
    ]


def adapter(
    best: int, base_loss: float = 3.0, best_loss: float = 2.5, stopped: bool = False, rows: int | None = None
) -> AdapterCard:
    known = {"trainable_parameters": 1, "steps": 10, "iterations": 100, "epochs": 1.0, "best_iteration": best}
    known |= {"stopped_early": stopped, "base_valid_loss": base_loss, "best_valid_loss": best_loss, "longest_row": 9}
    known |= {"padding_share": 0, "tokens_per_second": 1, "overhead_share": 0, "peak_memory_bytes": 1, "seconds": 1}
    return AdapterCard.model_validate(known | {"settings": {"train_rows": rows} if rows else {}})


BETTER: dict[str, Word] = {"nll_per_token": "better"}
UNSURE: dict[str, Word] = {"nll_per_token": "not enough data"}


@pytest.mark.parametrize(
    ("words", "cards", "trained", "action", "where"),
    [
        (BETTER, {}, None, "ship", None),
        (BETTER | {"instructions": "not enough data"}, {}, None, "ship", None),
        (BETTER | {"broken": "worse"}, {}, None, "lower the learning rate", None),
        (BETTER | {"kl_general": "worse"}, {}, None, "lower the learning rate", None),
        (BETTER | {"copied": "worse"}, {}, None, "lower the learning rate", None),
        (BETTER | {"copied": "worse"}, {}, adapter(50, rows=70), "lower the learning rate", None),
        (BETTER | {"copied": "worse"}, {}, adapter(50, rows=14), "more data", None),
        (BETTER, {"broken": 0.3}, None, "lower the learning rate", None),
        (BETTER, {"broken": 0.3, "base_broken": 0.9}, None, "take a better base", None),
        (BETTER | {"nll_end": "worse", "broken": "worse"}, {}, None, "bug upstream of training", "data or template"),
        ({"nll_per_token": "worse"}, {}, None, "bug upstream of training", "data or template"),
        ({"nll_per_token": "worse"}, {}, adapter(50), "more data", None),
        (UNSURE, {}, adapter(0), "bug upstream of training", "data or template"),
        (UNSURE, {}, adapter(100), "train longer", None),
        (UNSURE, {}, adapter(50), "more data", None),
        (UNSURE, {"broken": 0.9}, None, "more data", None),
        ({"nll_per_token": "no worse", "copied": "worse"}, {}, None, "more data", None),
        ({"nll_per_token": "no worse", "format_gap_closed": "better"}, {}, None, "more data", None),
        ({}, {}, None, "more data", None),
    ],
)
def test_each_picture_has_its_decision(
    words: dict[str, Word], cards: dict[str, float], trained: AdapterCard | None, action: str, where: str | None
) -> None:
    decision = decide(words, candidates(**cards), trained)
    assert (decision.action, decision.where) == (action, where)
    assert decision.reasons and all(reason for reason in decision.reasons)


def test_nothing_that_is_worse_is_ever_shipped() -> None:
    names = ("nll_per_token", "broken", "copied", "instructions", "choices", "off_topic", "kl_general")
    for bad, rest in product(names, ("better", "no worse", "not enough data")):
        words: dict[str, Word] = {name: rest for name in names} | {bad: "worse"}  # type: ignore[dict-item]
        assert decide(words, candidates()).action != "ship", (bad, rest)


def parity(**refused: str) -> ParityReport:
    way = {"adapter": None, "fused": "adapter", "F16": "fused", "Q8_0": "F16", "Q4_K_M": "F16"}
    made = [ParityCheck(name=name, reference=of, bytes=1, refused=refused.get(name)) for name, of in way.items()]
    return ParityReport(channel="c", run="r", checks=made, recommended=None)


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("adapter", "data or template"),
        ("fused", "fuse"),
        ("F16", "conversion or template"),
        ("Q8_0", "quantization Q8_0"),
    ],
)
def test_a_refused_file_that_should_be_exact_is_a_bug_and_says_where(file: str, where: str) -> None:
    decision = decide(BETTER, candidates(), None, parity(**{file: "loss +0.3 over 0.02"}))
    assert (decision.action, decision.where) == ("bug upstream of training", where) and "+0.3" in decision.reasons[0]


def test_a_small_quantization_that_is_refused_is_no_bug() -> None:
    assert decide(BETTER, candidates(), None, parity(Q4_K_M="KL 0.3 over 0.15")).action == "ship"
    assert export_defects(parity()) == []


@pytest.mark.parametrize(("value", "word"), [(0.01, "no worse"), (0.255, "not enough data"), (0.4, "worse")])
def test_a_divergence_is_held_to_its_budget(value: float, word: str) -> None:
    assert within(at(value, 0.008), BUDGETS["kl_general"]) == word


def judge(difference: Interval | None, matched: Interval | None) -> JudgeScore:
    return JudgeScore(
        judge="j", family="unknown", pairs=100, wins=1, ties=1, losses=1, errors=0, difference=difference,
        win_rate=None, matched=matched, first_slot=None, consistency=None, sign_p=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "matched", "word"),
    [
        (at(0.4), at(0.4), "better"),
        (at(-0.4), at(-0.4), "worse"),
        (at(0.4), at(-0.1), "not enough data"),
        (at(0.4), at(0.4, n=4), "not enough data"),
        (at(0.4), None, "not enough data"),
        (at(0.0), at(0.0), "not enough data"),
        (None, None, "not enough data"),
    ],
)
def test_a_judge_counts_only_where_answers_of_one_length_agree(
    difference: Interval | None, matched: Interval | None, word: str
) -> None:
    assert judged(judge(difference, matched)) == word
