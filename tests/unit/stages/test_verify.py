"""Nothing is approved that was not verified, nothing is rejected for want of a verdict, and every pair is counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.calls.test_verifying import PAIRS, QUOTE, TALK, Judge, Said, approves, entry, reply_of, verifier
from tests.unit.pairs import pair
from understudy import store
from understudy.catalog import CATALOG
from understudy.config import Config, load
from understudy.errors import ConfigError, DatasetError
from understudy.records import Pair, Verification, Verified
from understudy.scoring.statistics import wilson
from understudy.sections import VerifySpec
from understudy.stages.verify import apply, approval_rate, sample, summary, verify


def run(
    judge: Judge, folder: Path, max_repairs: int = 1, pairs: list[Pair] = PAIRS
) -> tuple[Verified, list[list[int]]]:
    """The verdicts, and the numbers each request asked for."""
    requests: list[list[int]] = []

    def noted(batch: list[Said], request: int) -> str:
        requests.append(sorted(p["question_number"] for p in batch))
        return judge(batch, request)

    with verifier(noted, folder) as (teacher, _):
        result = verify(TALK, pairs, teacher, VerifySpec(use="openai", max_repairs=max_repairs), 42)
    return result, requests


def outcomes(result: Verified) -> dict[int, bool | None]:
    return {v.question_number: v.approved for v in result.verdicts}


def test_planted_bad_pairs_are_disapproved_for_what_is_wrong_with_them(tmp_path: Path) -> None:
    bad: dict[int, Said] = {
        2: {"evidence_quote": "gluten was discovered by monks in Bologna"},
        3: {"no_hallucination": False, "reason": "The talk names no oven temperature."},
        4: {"complete": False, "standalone": False, "reason": "It answers half."},
    }

    def judge(pairs: list[Said], _: int) -> str:
        return reply_of(*(entry(p["question_number"]) | bad.get(p["question_number"], {}) for p in pairs))

    pairs = [pair("bread", n) for n in range(1, 6)]
    result, _ = run(judge, tmp_path, pairs=pairs)
    assert outcomes(result) == {1: True, 2: False, 3: False, 4: False, 5: True}
    judged = apply(pairs, {"bread": result}, only_approved=False)
    assert [(p.kept, p.gate) for p in judged] == [(True, None)] + [(False, "verify")] * 3 + [(True, None)]
    assert [p.reason for p in judged[1:4]] == [
        "not grounded in the text: the verifier's quote is not in the text",
        "says more than the text: The talk names no oven temperature.",
        "incomplete, does not stand alone: It answers half.",
    ]
    counts = summary([result])
    assert (counts.approved, counts.disapproved, counts.errors, counts.unverified, counts.invented_quotes) == (
        2,
        3,
        0,
        0,
        1,
    )
    assert counts.criteria == {"grounded": 1, "no_hallucination": 1, "complete": 1, "standalone": 1}


def test_only_missing_numbers_are_asked_again(tmp_path: Path) -> None:
    def judge(pairs: list[Said], request: int) -> str:
        return reply_of(*(entry(p["question_number"]) for p in pairs if request > 1 or p["question_number"] != 2))

    result, requests = run(judge, tmp_path)
    assert requests == [[1, 2, 5], [2]]
    assert outcomes(result) == {1: True, 2: True, 5: True}


def test_what_never_comes_is_an_error_and_neither_an_approval_nor_a_rejection(tmp_path: Path) -> None:
    def judge(pairs: list[Said], _: int) -> str:
        return reply_of(*(entry(p["question_number"]) for p in pairs if p["question_number"] != 5))

    result, requests = run(judge, tmp_path, max_repairs=2)
    assert requests == [[1, 2, 5], [5], [5]]
    assert outcomes(result) == {1: True, 2: True, 5: None}
    counts = summary([result])
    assert (counts.approved, counts.disapproved, counts.errors) == (2, 0, 1)
    assert counts.rate and (counts.rate.value, counts.rate.n) == (1.0, 2)
    kept = apply(PAIRS, {"bread": result}, only_approved=False)
    assert [(p.kept, p.verified) for p in kept] == [(True, True), (True, True), (True, None)]
    gold = apply(PAIRS, {"bread": result}, only_approved=True)
    assert (gold[2].kept, gold[2].gate) == (False, "verify") and "no usable verdict" in (gold[2].reason or "")


def test_prose_is_asked_again_and_then_an_error(tmp_path: Path) -> None:
    result, requests = run(lambda *_: "They are all wonderful. Approved!", tmp_path)
    assert requests == [[1, 2, 5], [1, 2, 5]]
    assert outcomes(result) == {1: None, 2: None, 5: None}
    assert summary([result]).rate is None


def test_a_repaired_talk_is_not_paid_again(tmp_path: Path) -> None:
    def judge(pairs: list[Said], request: int) -> str:
        first = reply_of(*(entry(p["question_number"]) for p in pairs if p["question_number"] == 1))
        return first if request == 1 else "no JSON today"

    before, requests = run(judge, tmp_path, max_repairs=2)
    again, nothing = run(judge, tmp_path, max_repairs=2)
    assert requests == [[1, 2, 5], [2, 5], [2, 5]] and nothing == [] and again == before


def test_a_verifier_that_approves_all_on_made_up_quotes_approves_nothing(tmp_path: Path) -> None:
    result, _ = run(
        lambda pairs, _: reply_of(*(entry(p["question_number"], "all of this is said word for word") for p in pairs)),
        tmp_path,
    )
    counts = summary([result])
    assert (counts.approved, counts.disapproved, counts.invented_quotes) == (0, 3, 3)
    with pytest.raises(DatasetError, match="none of 3 pairs"):
        apply(PAIRS, {"bread": result}, only_approved=False)


def test_a_talk_over_the_verifiers_window_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    long = TALK.model_copy(update={"paragraphs": TALK.paragraphs * 60})
    spec = VerifySpec(use="openai")
    with verifier(approves, tmp_path, context_window=2000) as (teacher, server):
        result = verify(long, PAIRS, teacher, spec, 42)
    assert not server.bodies
    assert all(v.approved is None and "larger context" in (v.error or "") for v in result.verdicts)


def test_a_talk_read_in_parts_is_verified_part_by_part(tmp_path: Path) -> None:
    long = TALK.model_copy(update={"paragraphs": TALK.paragraphs * 20})
    pairs = [p.model_copy(update={"part": part}) for p, part in zip(PAIRS, (1, 2, 2), strict=True)]
    with verifier(approves, tmp_path, context_window=2000) as (teacher, server):
        assert teacher.tokens(long.text) > (teacher.window() or 0)
        result = verify(long, pairs, teacher, VerifySpec(use="openai"), 42, split_into=2)
    assert outcomes(result) == {1: True, 2: True, 5: True}
    assert all("(part " in body["messages"][1]["content"] for body in server.bodies)


def channel(talks: int) -> list[Pair]:
    return [pair(f"talk{t}", n) for t in range(talks) for n in range(1, 8)]


def test_a_sample_takes_its_share_of_every_talk() -> None:
    pairs = channel(200)
    drawn = Counter(p.document_id for p in sample(pairs, 0.5, 42))
    assert set(drawn.values()) == {3, 4} and len(drawn) == 200
    assert abs(sum(drawn.values()) - 700) < 30
    assert sample(pairs, 1.0, 42) == pairs


def test_a_sample_stays_when_talks_are_added_and_depends_on_the_seed() -> None:
    few, many = sample(channel(20), 0.4, 42), sample(channel(30), 0.4, 42)
    assert few == [p for p in many if p in few] == [p for p in many if int(p.document_id[4:]) < 20]
    assert few != sample(channel(20), 0.4, 43)


def test_what_is_not_drawn_is_marked_and_refused_only_where_gold_is_wanted(tmp_path: Path) -> None:
    pairs = [pair("bread", n) for n in range(1, 11)]
    with verifier(approves, tmp_path) as (teacher, _):
        result = verify(TALK, pairs, teacher, VerifySpec(use="openai", fraction=0.5), 42)
    assert len(result.verdicts) == len(result.unverified) == 5
    free = apply(pairs, {"bread": result}, only_approved=False)
    assert all(p.kept for p in free) and Counter(p.verified for p in free) == {True: 5, None: 5}
    gold = apply(pairs, {"bread": result}, only_approved=True)
    assert {p.question_number for p in gold if not p.kept} == set(result.unverified)
    assert {p.reason for p in gold if not p.kept} == {"not verified: not in the sample"}


def test_a_pair_refused_before_keeps_its_gate() -> None:
    refused = PAIRS[0].model_copy(update={"kept": False, "gate": "length", "reason": "too short"})
    against = Verification(question_number=1, approved=False, grounded=False)
    verified = {"bread": Verified(document_id="bread", verifier="a/b", verdicts=[against])}
    [before, after] = apply([refused, PAIRS[1]], verified, only_approved=False)
    assert before == refused.model_copy(update={"verified": False}) and after.verified is None


def test_every_pair_is_counted_once(tmp_path: Path) -> None:
    verdicts = [
        Verification(question_number=n, approved=approved) for n, approved in enumerate((True, True, False, None), 1)
    ]
    counts = summary([Verified(document_id="d", verifier="a/b", verdicts=verdicts, unverified=[7, 8])])
    assert (counts.pairs, counts.approved, counts.disapproved, counts.errors, counts.unverified) == (6, 2, 1, 1, 2)
    assert counts.verifier == "a/b"


def test_the_interval_is_wilsons_and_closes_as_the_last_pair_is_judged() -> None:
    large, whole = approval_rate(85, 100, 10**9), approval_rate(85, 100, 100)
    assert large and large.low == pytest.approx(wilson(85, 100).low, abs=1e-6)
    assert whole and whole.low == whole.value == whole.high == 0.85
    for judged, low, high in ((100, 0.770, 0.906), (400, 0.816, 0.879), (1000, 0.834, 0.865)):
        some = approval_rate(round(0.85 * judged), judged, 2000)
        assert some and (some.low, some.high) == pytest.approx((low, high), abs=6e-4)
    none = approval_rate(0, 10, 100)
    assert none and none.low == none.value == 0.0 < none.high < wilson(0, 10).high
    assert approval_rate(0, 0, 5) is None and approval_rate(1, 1, 1)


def test_a_verified_pair_survives_the_dataset_file() -> None:
    rows = [PAIRS[0].model_copy(update={"verified": approved}) for approved in (True, False, None)]
    for kept in (rows, rows[2:]):
        data, _ = store.encode(CATALOG["pairs"].path, kept)
        assert list(store._parquet_rows(data, Pair)) == kept


def config(**verify_options: Any) -> Config:
    file = Path(__file__).parents[3] / "deployments" / "presets" / "demo.yaml"
    return load(file, {f"verify.{name}": value for name, value in verify_options.items()})


def test_a_preset_names_the_verifier_and_its_options_are_checked() -> None:
    assert not [where for where, _, _ in config().plugins() if where == "verify"]
    spec = config(use="openai", model="gpt-5-mini", fraction=0.5).verify
    assert (spec.fraction, spec.options) == (0.5, {"model": "gpt-5-mini"})
    for wrong in ({"fraction": 0}, {"fraction": 1.5}, {"use": "openai", "model": "m", "modle": "x"}, {"use": "gtp"}):
        with pytest.raises(ConfigError, match="verify"):
            config(**wrong)


def test_the_quote_in_these_tests_is_in_the_talk() -> None:
    assert QUOTE in TALK.text
