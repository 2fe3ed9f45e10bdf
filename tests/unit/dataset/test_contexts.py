"""Passages with questions: of one split, the right one among them, the others near; shares hold."""

import random
from collections import Counter

import pytest

from benchmarks.grounded import SPLITS, corpus
from tests.unit.pairs import pair
from understudy.dataset.contexts import Contexts, Sizes, balanced
from understudy.records import Pair, PairKind, Split
from understudy.retrieval.passages import Cutting, cut

REFUSAL = "I cannot answer this"


def contexts(seed: int = 1) -> tuple[Contexts, list[Pair], dict[str, Split]]:
    texts, pairs, split_of = corpus(seed)
    passages = cut(texts, Cutting(by="paragraph", words=60))
    return Contexts(passages, split_of, [p.answer for p in pairs], Sizes(3, 5, seed)), pairs, split_of


@pytest.mark.parametrize("seed", range(6))
def test_no_passage_is_on_two_splits_and_the_right_one_is_always_there(seed: int) -> None:
    chooser, pairs, split_of = contexts(seed)
    seen: dict[str, set[Split]] = {}
    for one in pairs:
        placed = chooser.answering(one)
        assert placed and 1 <= len(placed.passages) <= 3
        for passage in chooser.shown(placed):
            seen.setdefault(passage.passage_id, set()).add(split_of[passage.document_id])
        held = " ".join(passage.text for passage in chooser.shown(placed) if passage.document_id == one.document_id)
        assert one.answer.partition(" [")[0] in held
        refused = chooser.not_answering(one)
        assert refused
        for passage in chooser.shown(refused):
            seen.setdefault(passage.passage_id, set()).add(split_of[passage.document_id])
    assert all(len(splits) == 1 for splits in seen.values())


def test_what_does_not_answer_is_near_its_question() -> None:
    chooser, pairs, split_of = contexts()
    for one in pairs:
        placed = chooser.answering(one)
        assert placed
        among = [name for name, split in split_of.items() if split == split_of[one.document_id]]
        best = [hit.passage.passage_id for hit in chooser.index.search(one.question, 5 + 4, among)]
        assert set(placed.passages) <= set(best) | {p for p in placed.passages if p.startswith(f"{one.document_id}/")}


def test_choices_depend_on_nothing_but_seed_and_name() -> None:
    first, pairs, _ = contexts()
    again, _, _ = contexts()
    other = Contexts(first.index.passages, first.split_of, [p.answer for p in pairs], Sizes(3, 5, 2))
    placed = [first.answering(one) for one in pairs]
    assert placed == [again.answering(one) for one in reversed(pairs)][::-1]
    assert placed != [other.answering(one) for one in pairs]


def test_a_swapped_question_is_not_answered_by_what_comes_with_it() -> None:
    chooser, pairs, _ = contexts()
    swapped = [one for number, of in enumerate(pairs, 1) if (one := chooser.swapped(of, number, REFUSAL))]
    assert swapped and all(one.kind == "refusal" and not one.sources for one in swapped)
    for one in swapped:
        assert one.answer.startswith(f"{REFUSAL}: ")
        assert one.document_id not in {passage.document_id for passage in chooser.shown(one)}


def test_titles_are_no_content_and_what_cannot_be_told_is_not_swapped() -> None:
    chooser, pairs, _ = contexts()
    titled = pairs[0].model_copy(update={"answer": "It is [Quay 0]."})
    assert chooser._wanted(titled) == [] and chooser.swapped(titled, 1, REFUSAL) is None


def test_every_document_has_a_partner_of_its_split_and_keeps_it() -> None:
    chooser, _, split_of = contexts()
    for split in SPLITS:
        own = {name for name, of in split_of.items() if of == split}
        partners = chooser.partners(split, {})
        assert {name for pair_of in partners for name in pair_of} == own
        assert len(partners) == -(-len(own) // 2)
        before = dict(partners)
        assert set(map(frozenset, partners)) == set(map(frozenset, chooser.partners(split, before)))


@pytest.mark.parametrize("seed", range(20))
def test_shares_hold_within_a_point_whatever_there_is_enough_of(seed: int) -> None:
    dice = random.Random(seed)
    grounded = dice.randint(60, 400)
    shares: dict[PairKind, float] = {"grounded": 0.6, "synthesis": 0.2, "refusal": 0.2}
    groups: dict[PairKind, list[Pair]] = {
        kind: [pair(f"{kind}{n}", n + 1) for n in range(round(grounded * share / 0.6 * dice.uniform(0.85, 1.3)))]
        for kind, share in shares.items()
    }
    chosen = balanced(groups, shares, seed)
    total = sum(map(len, chosen.values()))
    assert total >= 0.55 * grounded / 0.6
    assert all(abs(len(rows) / total - shares[kind]) <= 0.01 for kind, rows in chosen.items())


def test_a_kind_that_hardly_came_costs_none_of_the_others() -> None:
    shares: dict[PairKind, float] = {"grounded": 0.6, "synthesis": 0.2, "refusal": 0.2}
    groups: dict[PairKind, list[Pair]] = {
        "grounded": [pair(f"g{n}") for n in range(60)],
        "synthesis": [pair("s")],
        "refusal": [pair(f"r{n}") for n in range(20)],
    }  # fmt: skip
    chosen = balanced(groups, shares, 1)
    assert Counter({kind: len(rows) for kind, rows in chosen.items()}) == {
        "grounded": 60,
        "synthesis": 1,
        "refusal": 20,
    }
    only = balanced(groups, {"grounded": 0.0, "synthesis": 0.0, "refusal": 1.0}, 1)
    assert {kind: len(rows) for kind, rows in only.items()} == {"refusal": 20}
