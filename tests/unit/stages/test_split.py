"""What is held out was not trained on, and stays held out, whatever becomes of the channel."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.unit.pairs import example, pair
from understudy.config import load
from understudy.errors import DatasetError
from understudy.graph import Node
from understudy.records import Leakage, Pair, SplitPlan
from understudy.sections import SplitSettings
from understudy.stages.split import materialize, split
from understudy.text.similarity import near_duplicates
from understudy.workspace import Workspace

NOUNS = "kettle bridge lens bell knife tree battery fridge loaf wheel lever prism magnet spring rope sail".split()


def channel(seed: int) -> list[Pair]:
    """3 to 12 talks of 1 to 9 questions; some questions are asked again in another talk."""
    dice = random.Random(seed)
    pairs: list[Pair] = []
    for talk in range(dice.randint(3, 12)):
        pairs += new_talk(dice, talk, [p.question for p in pairs], most=9)
    return pairs


def new_talk(dice: random.Random, talk: int, questions: list[str], most: int = 6, again: float = 0.1) -> list[Pair]:
    """A talk of some year, or undated; `again` is the share of its questions that other talks have asked."""
    published = None if dice.random() < 0.2 else f"{2000 + dice.randrange(25)}-01-01"
    pairs = []
    for number in range(1, dice.randint(1, most) + 1):
        nouns = dice.sample(NOUNS, 3)
        question = f"How does the {nouns[0]} {talk}{number} act on the {nouns[1]} near the {nouns[2]}?"
        if questions and dice.random() < again:
            question = dice.choice(questions).replace(
                "How does", dice.choice(["How does", "So how does", "How exactly does"])
            )
        pairs.append(pair(f"talk-{talk}", number, question).model_copy(update={"published": published}))
    return pairs


def simple_talk(name: str, *questions: str, published: str | None = None) -> list[Pair]:
    return [pair(name, n, q).model_copy(update={"published": published}) for n, q in enumerate(questions, 1)]


def plain(talks: int, each: int = 5, first: int = 0) -> list[Pair]:
    """Talks that have nothing in common, one a year."""
    return [
        p
        for talk in range(first, first + talks)
        for p in simple_talk(
            f"t{talk:04}",
            *(f"What is item{talk}x{n} of {NOUNS[n % 16]}?" for n in range(each)),
            published=f"{1900 + talk}-05-05",
        )
    ]


def history(seed: int) -> Iterator[list[Pair]]:
    """A channel as it grows: talks arrive, pairs are refused or asked anew, talks are forgotten."""
    dice = random.Random(seed)
    pairs: list[Pair] = []
    for talk in range(dice.randint(6, 16)):
        for _ in range(dice.choice([1, 1, 1, 5])):
            pairs = pairs + new_talk(dice, talk * 10 + _, [p.question for p in pairs], again=dice.choice([0.05, 0.5]))
        if dice.random() < 0.2:
            gone = dice.choice(pairs).document_id
            pairs = [p for p in pairs if p.document_id != gone]
        pairs = [p for p in pairs if dice.random() > 0.02]
        if pairs and dice.random() < 0.2:
            at, question = dice.randrange(len(pairs)), dice.choice(pairs).question
            pairs = [p.model_copy(update={"question": question}) if i == at else p for i, p in enumerate(pairs)]
        dice.shuffle(pairs)
        yield pairs


def sides_of(plan: SplitPlan) -> dict[str, str]:
    return {pair_id: name for name, ids in plan.splits.items() for pair_id in ids}


def crossing(pairs: list[Pair], plan: SplitPlan) -> list[tuple[str, str]]:
    """Planted near-duplicates (the same things asked about) on two sides."""
    side = sides_of(plan)
    first: dict[str, dict[str, str]] = {}
    for p in pairs:
        if p.pair_id in side:
            first.setdefault(p.question.split("does")[1], {}).setdefault(side[p.pair_id], p.pair_id)
    return [tuple(sorted(splits)) for splits in first.values() if len(splits) > 1]  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(60))
def test_no_talk_and_no_near_duplicate_is_on_two_sides(seed: int) -> None:
    pairs = channel(seed)
    plan = split(pairs, SplitSettings(), seed)
    side = sides_of(plan)
    assert Counter(side.keys()) == Counter(p.pair_id for p in pairs) and not plan.dropped
    assert plan.splits["train"] and plan.splits["valid"]
    assert plan.splits["test"] or any("test is empty" in note for note in plan.notes)
    if plan.honest:
        talks = {(p.document_id, side[p.pair_id]) for p in pairs}
        assert len(talks) == len({p.document_id for p in pairs})
        assert plan.leakage.rows_sharing_a_document == 0
    for a, b in near_duplicates([p.question for p in pairs], 0.7):
        assert side[pairs[a].pair_id] == side[pairs[b].pair_id]
    assert plan.leakage.near_duplicate_questions == 0


@pytest.mark.parametrize("seed", range(200))
def test_what_was_held_out_never_leaves_and_no_near_duplicate_is_on_two_sides(seed: int) -> None:
    before: SplitPlan | None = None
    settings = SplitSettings(min_documents=1 + seed % 3)
    for pairs in history(seed):
        try:
            plan = split(pairs, settings, seed, before)
        except DatasetError:
            continue
        old, side = sides_of(before) if before else {}, sides_of(plan)
        dropped = {drop.pair_id for drop in plan.dropped}
        assert {*side, *dropped} == {p.pair_id for p in pairs} and not dropped & side.keys()
        for name, was in old.items():
            if any(p.pair_id == name for p in pairs):
                assert side.get(name) == was or (was == "train" and name in dropped)
        # Only held-out questions that were edited into one another may stand on two sides, as both are frozen.
        assert all(splits == ("test", "valid") for splits in crossing(pairs, plan))
        assert plan.honest == (plan.leakage.rows_sharing_a_document == 0)
        assert split(pairs[::-1], settings, seed, plan) == plan
        before = plan


@pytest.mark.parametrize("seed", range(200))
def test_talks_that_only_arrive_never_leak_nor_cost_an_old_pair(seed: int) -> None:
    dice, settings = random.Random(seed), SplitSettings()
    pairs = plain(4)
    before = split(pairs, settings, seed)
    for talk in range(10):
        pairs = pairs + new_talk(dice, talk, [p.question for p in pairs if "does" in p.question], again=0.4)
        plan = split(pairs, settings, seed, before)
        assert plan.honest and not plan.leakage.near_duplicate_questions and not crossing(pairs[20:], plan)
        for name, ids in before.splits.items():
            assert set(ids) <= set(plan.splits[name])
        before = plan


def test_a_new_talk_that_asks_a_test_question_is_held_out_with_it() -> None:
    pairs = plain(20)
    before = split(pairs, SplitSettings(), 0)
    question = next(p.question for p in pairs if p.pair_id == before.splits["test"][0])
    plan = split([*pairs, *simple_talk("new", question, "Why is the sky blue?")], SplitSettings(), 0, before)
    assert {"new#1", "new#2"} <= set(plan.splits["test"]) and not plan.dropped


def test_of_a_new_talk_that_ties_train_to_test_only_the_tie_is_dropped() -> None:
    pairs = plain(20)
    before = split(pairs, SplitSettings(), 0)
    question = {p.pair_id: p.question for p in pairs}
    trained, tested = before.splits["train"], before.splits["test"]
    new = simple_talk("new", question[trained[0]], question[trained[1]], question[tested[0]], "Why is the sky blue?")
    plan = split([*pairs, *new], SplitSettings(), 0, before)
    assert [(drop.pair_id, drop.split) for drop in plan.dropped] == [("new#3", "train")]
    assert tested[0] in plan.dropped[0].reason
    assert {"new#1", "new#2", "new#4"} <= set(plan.splits["train"]) and plan.splits["test"] == tested


def test_repeats_of_a_dropped_question_do_not_slip_to_another_side() -> None:
    pairs = plain(20)
    before = split(pairs, SplitSettings(), 0)
    question = {p.pair_id: p.question for p in pairs}
    trained, tested = (question[before.splits[side][0]] for side in ("train", "test"))
    # 'a' sorts first and so speaks for all that ask the same; it is the one that is dropped.
    tied = simple_talk("a", tested, trained, question[before.splits["train"][1]])
    plan = split([*pairs, *tied, *simple_talk("z", tested)], SplitSettings(), 0, before)
    assert [drop.pair_id for drop in plan.dropped] == ["a#1"]
    assert "z#1" in plan.splits["test"]


def test_a_trained_question_edited_into_a_held_out_one_is_dropped_from_train() -> None:
    pairs = plain(20)
    before = split(pairs, SplitSettings(), 0)
    tested = next(p.question for p in pairs if p.pair_id == before.splits["test"][0])
    edited = before.splits["train"][3]
    changed = [p.model_copy(update={"question": tested}) if p.pair_id == edited else p for p in pairs]
    plan = split(changed, SplitSettings(), 0, before)
    assert [drop.pair_id for drop in plan.dropped] == [edited]
    assert plan.splits["test"] == before.splits["test"] and plan.leakage.near_duplicate_questions == 0


def test_new_talks_fill_the_held_out_sides_to_their_share_and_no_further() -> None:
    pairs, before = plain(10), None
    for talk in range(10, 100):
        before = split(pairs, SplitSettings(), 1, before)
        pairs = pairs + plain(1, first=talk)
    plan = split(pairs, SplitSettings(), 1, before)
    assert {side: len(talks) for side, talks in plan.documents.items()} == {"train": 80, "valid": 10, "test": 10}
    assert plan.notes == []


@pytest.mark.parametrize("seed", range(20))
def test_held_out_talks_are_spread_over_the_years(seed: int) -> None:
    plan = split(plain(100, each=3), SplitSettings(), seed)
    for side in ("valid", "test"):
        decades = Counter(int(name[1:]) // 10 for name in plan.documents[side])  # type: ignore[index]
        assert decades == Counter(range(10))


def test_undated_talks_are_held_out_as_often_as_dated_ones() -> None:
    pairs = [p.model_copy(update={"published": None}) if p.document_id > "t0049" else p for p in plain(100)]
    plan = split(pairs, SplitSettings(test=0.2), 5)
    assert 8 <= sum(name > "t0049" for name in plan.documents["test"]) <= 12


def test_a_side_holds_its_minimum_of_talks_while_train_keeps_half() -> None:
    assert {len(split(plain(30), SplitSettings(min_documents=5), 0).documents[s]) for s in ("valid", "test")} == {5}
    plan = split(plain(30), SplitSettings(min_documents=20), 0)
    assert len(plan.splits["train"]) >= 75
    assert any("were wanted; add talks" in note for note in plan.notes)


def test_a_component_of_most_pairs_is_trained_on_and_the_plan_says_what_it_costs() -> None:
    tied = [pair(f"big-{talk}", n, f"What is {NOUNS[n]}?") for talk in range(18) for n in range(1, 6)]
    plan = split(
        [*tied, *simple_talk("a", "Why is a candle warm?"), *simple_talk("b", "Who made ink?")], SplitSettings(), 0
    )
    assert {p.pair_id for p in tied} == set(plan.splits["train"]) and plan.honest
    assert [note.split(" ")[0] for note in plan.notes] == ["valid", "test"] and "10%" in plan.notes[0]


def test_of_two_talks_one_is_for_valid_and_none_for_test() -> None:
    plan = split(plain(2), SplitSettings(), 0)
    assert [len(plan.splits[side]) for side in ("train", "valid", "test")] == [5, 5, 0]
    assert plan.honest and any("test is empty" in note for note in plan.notes)


def test_the_same_seed_gives_the_same_plan_in_any_order() -> None:
    pairs = channel(1)
    assert split(pairs, SplitSettings(), 7) == split(pairs[::-1], SplitSettings(), 7)


def test_one_talk_is_split_by_question_and_said_to_be_dishonest() -> None:
    plan = split([pair("a", n, f"What is {noun}?") for n, noun in enumerate(NOUNS, 1)], SplitSettings(), 0)
    assert not plan.honest and plan.leakage.explained and plan.leakage.rows_sharing_a_document > 0
    assert all(plan.splits.values())


def test_refused_pairs_are_on_no_side() -> None:
    pairs = [p.model_copy(update={"kept": p.question_number > 1}) for p in channel(3)]
    plan = split(pairs, SplitSettings(), 0)
    assert {i for ids in plan.splits.values() for i in ids} == {p.pair_id for p in pairs if p.kept}


def test_too_few_pairs_are_refused_with_the_way_out() -> None:
    with pytest.raises(DatasetError, match="too few"):
        split([pair("a", 1, "What is heat?"), pair("b", 1, "What is cold?")], SplitSettings(), 0)


def test_a_channel_of_which_only_held_out_talks_are_left_is_refused() -> None:
    pairs = plain(20)
    before = split(pairs, SplitSettings(), 0)
    held_out = {*before.splits["valid"], *before.splits["test"]}
    with pytest.raises(DatasetError, match="held out"):
        split([p for p in pairs if p.pair_id in held_out], SplitSettings(), 0, before)


def test_shares_that_leave_nothing_for_train_are_refused() -> None:
    with pytest.raises(ValidationError, match="below 1"):
        SplitSettings(valid=0.5, test=0.5)


def test_a_plan_of_before_the_fields_of_today_is_read() -> None:
    old = SplitPlan(
        splits={"train": ["a#1"], "valid": [], "test": []},
        documents={"train": ["a"], "valid": [], "test": []},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )
    fields = old.model_dump(exclude={"dropped", "notes"})
    fields["leakage"] = {
        name: fields["leakage"][name] for name in ("rows_sharing_a_document", "near_duplicate_questions")
    }
    assert SplitPlan.model_validate(fields) == old
    pairs = plain(3)
    frozen = old.model_copy(update={"splits": {"train": [], "valid": [], "test": [p.pair_id for p in pairs[:5]]}})
    assert split(pairs, SplitSettings(), 0, frozen).splits["test"] == frozen.splits["test"]


def test_newlines_and_marks_of_an_answer_reach_the_row() -> None:
    answer = "A **bold** start.\n\n1. one\n2. two"
    assert example(pair("a", 1, "Q?", answer)).messages[1].content == answer


def test_each_file_holds_the_rows_of_its_split_in_the_order_of_the_plan(tmp_path: Path) -> None:
    preset = Path(__file__).resolve().parents[3] / "deployments/presets/tiny.yaml"
    workspace, pairs = Workspace(home=tmp_path, config=load(preset)), plain(10)
    node = Node(workspace, "split", {}, {"pairs": workspace.save("pairs", pairs, "f")}, "f", (), {})
    plan, by_id = workspace.read(materialize(node)), {p.pair_id: p for p in pairs}
    for name, ids in plan.splits.items():
        assert ids and workspace.rows(workspace.latest(name)) == [example(by_id[pair_id]) for pair_id in ids]
