"""Near-duplicates are found, and questions that only look alike are left alone."""

import pytest

from understudy.similarity import components, near_duplicates

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
