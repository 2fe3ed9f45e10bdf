"""Answers from given texts: what each did, and planted effects named rightly."""

from collections.abc import Sequence

import pytest

from tests.unit.pairs import pair
from understudy.interfaces import References
from understudy.metrics.citations import CitationsMetric
from understudy.records import Pair, PairSource, Sample
from understudy.scoring.verdicts import MARGINS, verdict

REFUSAL = "I cannot answer this from the provided context: the passages are about bells, and do not say."


def asked(number: int, kind: str = "grounded") -> Pair:
    document = f"d{number // 3}"
    answer = f"The crane of yard {number} lifts {number + 40} tons of granite [Crane {number}]."
    source = PairSource(document_id=document, title=f"Crane {number}")
    return pair(
        document, number, f"What does crane {number} lift?", REFUSAL if kind == "refusal" else answer
    ).model_copy(
        update={"kind": kind, "sources": [source] if kind == "grounded" else [], "tags": [f"topic {number % 2}"]}
    )


PAIRS = [asked(number, "refusal" if number % 4 == 0 else "grounded") for number in range(48)]


def sample(of: Pair, text: str) -> Sample:
    done = {"new_tokens": 9, "stopped": True, "seconds": 1.0}
    return Sample(pair_id=of.pair_id, document_id=of.document_id, nll=1, tokens=9, text=text, **done)


def metric() -> CitationsMetric:
    built = CitationsMetric(CitationsMetric.Options())
    built.study(References(train=[asked(100)], held_out=PAIRS))
    return built


def test_a_wrong_title_is_no_hit_and_a_refusal_answers_nothing() -> None:
    of = PAIRS[1]
    fact = metric().facts(sample(of, "It lifts 41 tons of granite [Crane 9]."))
    assert fact and (fact.right_title, fact.citation_precision, fact.keyword_coverage) == (0, 0, 0.75)
    fact = metric().facts(sample(of, "It lifts 41 tons of granite [Crane 1], says [Crane 9]."))
    assert fact and (fact.right_title, fact.citation_precision, fact.declined) == (1, 0.5, False)
    fact = metric().facts(sample(of, REFUSAL))
    assert fact and fact.declined and (fact.over_refusal, fact.substantive, fact.citation_precision) == (1, 0, None)
    short = metric().facts(sample(of, "Ragas evaluates R"))
    assert short and short.substantive == 0
    right = metric().facts(sample(PAIRS[0], REFUSAL))
    assert right and right.should_decline and right.refusal_recall == 1 and right.right_title is None


def answers(pairs: Sequence[Pair], wrong: dict[str, int]) -> list[Sample]:
    """Right answers, but for every nth of each planted fault."""
    texts = []
    for at, one in enumerate(pairs):
        text = one.answer
        if one.kind == "grounded":
            if wrong.get("refuses") and at % wrong["refuses"] == 0:
                text = REFUSAL
            if wrong.get("title") and at % wrong["title"] == 0:
                text = text.replace(f"[Crane {one.question_number}]", "[Crane 999]")
            if wrong.get("cut") and at % wrong["cut"] == 0:
                text = text[:12]
        elif wrong.get("answers") and at % wrong["answers"] == 0:
            text = "It lifts 12 tons of sandstone for the old harbour wall [Crane 3]."
        texts.append(sample(one, text))
    return texts


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"refuses": 2}, "over_refusal"),
        ({"title": 2}, "right_title"),
        ({"cut": 2}, "substantive"),
        ({"answers": 1}, "refusal_balance"),
        ({"cut": 2}, "keyword_coverage"),
    ],
)
def test_a_planted_fault_is_named(fault: dict[str, int], name: str) -> None:
    built = metric()
    change = built.compare(answers(PAIRS, fault), answers(PAIRS, {}), 0)[name]
    assert verdict(change, built.better[name], MARGINS[name]) == "worse"
    other = built.compare(answers(PAIRS, {}), answers(PAIRS, fault), 0)[name]
    assert verdict(other, built.better[name], MARGINS[name]) == "better"


def test_refusing_everything_is_worth_no_more_than_refusing_nothing() -> None:
    built = metric()
    everything = [sample(one, REFUSAL) for one in PAIRS]
    assert built.measure(everything, 0)["refusal_balance"].value == pytest.approx(0.5)
    assert built.measure(answers(PAIRS, {"answers": 1}), 0)["refusal_balance"].value == pytest.approx(0.5)
    assert built.measure(answers(PAIRS, {}), 0)["refusal_balance"].value == pytest.approx(1)


def test_the_table_of_topics_counts_each_answer_once() -> None:
    built = metric()
    table = built.topics(answers(PAIRS, {}), answers(PAIRS, {"cut": 2}), 0)
    assert sum(row.answers for row in table) == sum(one.kind == "grounded" for one in PAIRS)
    assert [row.topic for row in table] == ["topic 0", "topic 1"]
    assert all(row.tuned == pytest.approx(1) for row in table) and min(row.base for row in table) < 1
    assert all(row.difference for row in table)
