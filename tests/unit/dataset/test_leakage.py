"""What two splits have in common is counted, and told with its reason."""

import random

import pytest

from tests.unit.pairs import pair
from understudy.dataset.leakage import GRAM_WORDS, Alike, measure, shared_words
from understudy.records import Pair, Split
from understudy.text.similarity import near_duplicates
from understudy.text.words import words

STOCK = "and that is how we always do it in this workshop"
VOCABULARY = [f"word{n}" for n in range(60)]


def answered(talk: str, answer: str, number: int = 1) -> Pair:
    return pair(talk, number, f"What is {talk} {number}?", answer)


def test_eight_words_in_a_row_on_two_sides_are_found_and_shown() -> None:
    pairs = [
        answered("a", "First, **the heat of the pan moves into the cold** egg."),
        answered("b", "Then the heat of the pan moves into the air."),
        answered("c", "Nothing of this kind."),
    ]
    assert shared_words(pairs, [True, False, True]) == (1, 0, ["'the heat of the pan moves into the' in a#1 and b#1"])


def test_seven_words_in_a_row_and_words_across_two_answers_are_not_shared() -> None:
    pairs = [
        answered("a", "the heat of the pan moves into eggs"),
        answered("b", "the heat of the pan moves into"),
        answered("b", "eggs and air", 2),
    ]
    assert shared_words(pairs, [True, False, False]) == (0, 0, [])


def test_a_phrase_of_three_talks_is_a_stock_phrase_and_shown_last() -> None:
    pairs = [answered(name, f"{name} {STOCK}") for name in "abcd"]
    pairs += [
        answered("e", "one two three four five six seven eight"),
        answered("f", "one two three four five six seven eight"),
    ]
    rows, stock, examples = shared_words(pairs, [True, False, False, False, True, False])
    assert (rows, stock) == (2, 1)
    assert "'one two three" in examples[0] and "'a and that" not in examples[1] and "'and that is" in examples[1]


def test_one_side_alone_shares_nothing() -> None:
    pairs = [answered("a", STOCK), answered("b", STOCK)]
    assert shared_words(pairs, [False, False]) == shared_words(pairs, [True, True]) == (0, 0, [])


@pytest.mark.parametrize("seed", range(30))
def test_digests_count_what_sets_of_words_count(seed: int) -> None:
    dice = random.Random(seed)
    phrases = [" ".join(dice.choices(VOCABULARY, k=dice.randint(3, 12))) for _ in range(12)]
    pairs = [answered(f"t{n % 9}", " ".join(dice.choices(phrases, k=dice.randint(0, 4))), n) for n in range(25)]
    held = [dice.random() < 0.3 for _ in pairs]

    def grams(p: Pair) -> set[tuple[str, ...]]:
        answer_words = words(p.answer)
        return {tuple(answer_words[at : at + GRAM_WORDS]) for at in range(len(answer_words) - GRAM_WORDS + 1)}

    trained = set().union(*(grams(p) for p, out in zip(pairs, held, strict=True) if not out), set())
    mine = [grams(p) & trained for p, out in zip(pairs, held, strict=True) if out]
    talks = {gram: len({p.document_id for p in pairs if gram in grams(p)}) for gram in set().union(*mine, set())}
    stock = sum(bool(result) and all(talks[gram] >= 3 for gram in result) for result in mine)
    rows, only_stock, examples = shared_words(pairs, held)
    assert (rows, only_stock, len(examples)) == (sum(map(bool, mine)), stock, min(5, rows))


def test_questions_asked_again_are_alike_without_the_one_asked_first() -> None:
    questions = ["How does a bell ring?", "How does a bell ring?", "How does a bell ring", "Who made ink?"]
    alike = Alike(questions, list(near_duplicates(questions, 0.7)))
    assert alike.kinds(1)[0] == alike.kinds(2)[0] == 0 and alike.kinds(3) == [3]


def test_all_zero_needs_no_explanation_and_a_leak_has_one() -> None:
    pairs = [answered("a", "One."), answered("a", "Two.", 2), answered("b", "Three.")]
    alike = Alike([p.question for p in pairs], [])
    apart: dict[str, Split] = {"a#1": "train", "a#2": "train", "b#1": "test"}
    assert measure(pairs, apart, alike).explained is None
    result = measure(pairs, apart | {"a#2": "valid"}, alike)
    assert result.rows_sharing_a_document == 1 and "talks that are trained on" in str(result.explained)
