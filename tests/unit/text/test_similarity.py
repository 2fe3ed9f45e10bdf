"""Near-duplicates are found, and questions that only look alike are left alone."""

import pytest

from understudy.text.similarity import components, near_duplicates

OTHERS = [f"How does the {a} of a {b} change?" for a in ("weight", "colour", "sound") for b in ("bell", "tree", "lens")]


def linked(*questions: str) -> bool:
    return (0, 1) in set(near_duplicates([*questions, *OTHERS], 0.7))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Why does a cup of tea cool fastest at the start?", "Why does the cup of tea cool fastest at the start?"),
        ("Why does bread dough rise in a warm kitchen?", "Why does bread dough rise in warm kitchens?"),
        ("How does soap clean grease off your hands?", "How does soap clean grease off hands?"),
    ],
)
def test_the_same_question_in_nearly_the_same_words_is_found(a: str, b: str) -> None:
    assert linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What helps people with type 1 diabetes sleep well?", "What helps people with type 2 diabetes sleep well?"),
        ("Should I eat before a long run in the morning?", "Should I not eat before a long run in the morning?"),
        ("Why does insulin rise after a large meal at night?", "Why does insulin fall after a large meal at night?"),
        ("What does hypertension do to the heart?", "What does hypotension do to the heart?"),
        ("What practical advice is there about tea?", "What practical advice is there about bread?"),
    ],
)
def test_questions_one_word_apart_in_meaning_are_two(a: str, b: str) -> None:
    assert not linked(a, b)


def test_components_join_what_is_linked_and_nothing_else() -> None:
    assert components(6, [(0, 1), (1, 4), (2, 3)]) == [0, 0, 2, 2, 0, 5]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How does fasting lower insulin in the morning?", "How does fasting reduce insulin in the morning?"),
        ("Why does photosynthesis need sunlight in plants?", "Why does photosynthesis need sunligth in plants?"),
        ("Why does a bridge arch stand in winter?", "In winter, why does a bridge arch stand?"),
        ("How does the morning sun affect deep sleep?", "How is deep sleep affected by the morning sun?"),
        ("Warum geht der Teig im Ofen auf?", "Warum geht denn der Teig im Ofen auf?"),
    ],
)
def test_a_question_reworded_is_the_same(a: str, b: str) -> None:
    assert linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Does salt pull water out of cells?", "Does water pull salt out of cells?"),
        ("How did Newton explain the colours of light?", "How did Goethe explain the colours of light?"),
        ("When should bread dough rest in a bowl?", "Where should bread dough rest in a bowl?"),
        ("How long should bread dough rest?", "How often should bread dough rest?"),
        ("Should I run with shoes on grass?", "Should I run without shoes on grass?"),
        ("Is red wine healthy at dinner?", "Is red wine unhealthy at dinner?"),
        ("Kann man Tee am Abend trinken?", "Kann man Tee nicht am Abend trinken?"),
        ("Why is the left lung smaller?", "Why is the right lung smaller?"),
    ],
)
def test_a_name_an_order_or_an_opposite_makes_two_questions(a: str, b: str) -> None:
    assert not linked(a, b)


def test_two_words_that_both_occur_elsewhere_are_no_typo() -> None:
    more = ["What is a casual link?", "What is a causal link?", "Is a casual remark rude?", "Is a causal remark rude?"]
    assert not list(near_duplicates([*more, *OTHERS], 0.7))


def test_a_question_asked_a_thousand_times_is_paired_with_its_first_only() -> None:
    assert len(list(near_duplicates(["Why does bread dough rise?"] * 1000, 0.7))) == 999


def test_a_slip_that_many_make_is_still_a_slip_of_a_word_that_everyone_writes() -> None:
    usual = [f"Why does the {name} material change?" for name in ("bell", "lens")]
    often = [f"Why does it matter in case {number}?" for number in range(1200)]
    slips = ["Why do bells mattter at sea?", "Why do trees mattter in towns?"]
    meant = ["Why do bells matter at sea?", "Why do trees matter in towns?"]
    result = set(near_duplicates([*meant, *slips, *usual, *often], 0.7))
    assert {(0, 2), (1, 3)} <= result
