"""What is held out was not trained on, whatever the channel looks like."""

import random
from collections import Counter

import pytest

from tests.unit.pairs import pair
from understudy.config import SplitSettings
from understudy.errors import DatasetError
from understudy.records import Pair
from understudy.similarity import near_duplicates
from understudy.stages.split import example, split

NOUNS = "kettle bridge lens bell knife tree battery fridge loaf wheel lever prism magnet spring rope sail".split()


def channel(seed: int) -> list[Pair]:
    """3 to 12 talks of 1 to 9 questions; some questions are asked again in another talk."""
    dice = random.Random(seed)
    pairs, asked = [], []
    for talk in range(dice.randint(3, 12)):
        for number in range(1, dice.randint(2, 10)):
            nouns = dice.sample(NOUNS, 3)
            question = f"How does the {nouns[0]} {talk}{number} act on the {nouns[1]} near the {nouns[2]}?"
            if asked and dice.random() < 0.1:
                question = dice.choice(asked)
            asked.append(question)
            pairs.append(pair(f"talk-{talk}", number, question))
    return pairs


@pytest.mark.parametrize("seed", range(60))
def test_no_talk_and_no_near_duplicate_is_on_two_sides(seed: int) -> None:
    pairs = channel(seed)
    plan = split(pairs, SplitSettings(), seed)
    side = {pair_id: name for name, ids in plan.sides.items() for pair_id in ids}
    assert Counter(side.keys()) == Counter(p.pair_id for p in pairs)
    assert all(plan.sides.values())
    if plan.honest:
        talks = {(p.document_id, side[p.pair_id]) for p in pairs}
        assert len(talks) == len({p.document_id for p in pairs})
        assert plan.leakage.rows_sharing_a_document == 0
    for a, b in near_duplicates([p.question for p in pairs], 0.7):
        assert side[pairs[a].pair_id] == side[pairs[b].pair_id]
    assert plan.leakage.near_duplicate_questions == 0


def test_the_same_seed_gives_the_same_plan_in_any_order() -> None:
    pairs = channel(1)
    assert split(pairs, SplitSettings(), 7) == split(pairs[::-1], SplitSettings(), 7)


def test_one_talk_is_split_by_question_and_said_to_be_dishonest() -> None:
    plan = split([pair("a", n, f"What is {noun}?") for n, noun in enumerate(NOUNS, 1)], SplitSettings(), 0)
    assert not plan.honest and plan.leakage.explained and plan.leakage.rows_sharing_a_document > 0
    assert all(plan.sides.values())


def test_refused_pairs_are_on_no_side() -> None:
    pairs = [p.model_copy(update={"kept": p.question_number > 1}) for p in channel(3)]
    plan = split(pairs, SplitSettings(), 0)
    assert {i for ids in plan.sides.values() for i in ids} == {p.pair_id for p in pairs if p.kept}


def test_too_few_pairs_are_refused_with_the_way_out() -> None:
    with pytest.raises(DatasetError, match="too few"):
        split([pair("a", 1, "What is heat?"), pair("b", 1, "What is cold?")], SplitSettings(), 0)


def test_newlines_and_marks_of_an_answer_reach_the_row() -> None:
    answer = "A **bold** start.\n\n1. one\n2. two"
    assert example(pair("a", 1, "Q?", answer)).messages[1].content == answer
