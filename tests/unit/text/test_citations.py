"""What an answer cites, in both forms, and what it must mention."""

import pytest

from understudy.text.citations import citation, cited
from understudy.text.declining import declines
from understudy.text.keywords import coverage, keywords, rarity

TITLES = ["The Tide Bell", "The Long Shed (1884)", 'The "Maid"', "The Bell"]


@pytest.mark.parametrize(
    ("answer", "known", "unknown"),
    [
        ("It rings twice [The Tide Bell].", ["The Tide Bell"], []),
        ("It rings twice [the tide bell], and so does [The Bell].", ["The Tide Bell", "The Bell"], []),
        ("Built for rope [The Long Shed (1884)].", ["The Long Shed (1884)"], []),
        ("She sank [The “Maid”].", ['The "Maid"'], []),
        ("It rings [The Fog Bell].", [], ["The Fog Bell"]),
        ("It rings twice [1], The Tide Bell says.", [], []),
        ("Nothing is cited.", [], []),
    ],
)
def test_only_a_title_that_was_given_counts(answer: str, known: list[str], unknown: list[str]) -> None:
    assert cited(answer, TITLES) == (known, unknown)


def test_in_round_brackets_prose_is_no_citation() -> None:
    answer = "It rings twice (The Tide Bell, Use), once in fog (as it must), and is old (The Fog Bell, Age)."
    found = cited(answer, TITLES, "(Title, heading)", [*TITLES, "The Fog Bell"])
    assert found == (["The Tide Bell"], ["The Fog Bell, Age"])


def test_what_is_written_is_read_back() -> None:
    for title in TITLES:
        assert cited(f"So it is {citation(title, ['Use'])}.", TITLES).known == [title]
        form = "(Title, heading)"
        assert cited(f"So it is {citation(title, ['Use'], form)}.", TITLES, form).known == [title]


def test_declining_is_seen_in_usual_words_and_in_those_of_the_recipe() -> None:
    assert declines("The passages do not say when it was built.")
    assert declines("No idea here: nothing on it", "no idea here")
    assert declines("I don’t know: nothing is said of it.", "I don't know")
    assert not declines("It was built in 1884 and does not ring any more.")
    assert not declines("The council does not give refunds after 30 days.")
    assert not declines("It rings twice. The passages do not say who paid for it.")


def test_what_must_be_mentioned_is_in_the_answer_and_not_in_the_question() -> None:
    rare = rarity(["the bell rings twice", "the bell is bronze", "the crane lifts 5 tons of granite"])
    wanted = keywords("What does the crane lift?", "The crane lifts 5 tons of granite.", rare)
    assert ["5"] in wanted and ["granite"] in wanted and ["crane"] not in wanted
    assert coverage("Five or 5 tons, in Granite blocks", wanted) == pytest.approx(1)
    assert coverage("It lifts much", wanted) == 0 and coverage("x", []) is None
    assert coverage("a tall ship", [["long boat", "ships"]]) == 1
