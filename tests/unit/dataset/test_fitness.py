"""What is said of manuals that are no material for an expert, on texts of each kind."""

import random

from tests.unit.pairs import pair
from understudy.dataset import fitness
from understudy.stages.describe import of_types

NOUNS = "valve pump gauge boiler filter nozzle bearing coupling relay sensor damper hatch".split()


def sections(sentence: str, count: int = 120, manual: str = "a") -> list[fitness.Section]:
    """So many sections of twelve sentences, each with its own nouns and numbers."""
    dice = random.Random(sentence)

    def line() -> str:
        return sentence.format(dice.choice(NOUNS), dice.choice(NOUNS), dice.randint(2, 999))

    return [(manual, " ".join(line() for _ in range(12))) for _ in range(count)]


RULES = "The {} that stands beside the {} is checked by the shift lead after every {} hours of running."


def said(documents: list[fitness.Section]) -> list[str]:
    return fitness.warnings(documents)


def test_rules_in_quantity_are_fit() -> None:
    assert said(sections(RULES)) == [] and said([]) == []


def test_each_kind_of_unfit_material_is_named_with_what_to_do_instead() -> None:
    cases = {
        "KB of text is little": sections(RULES, 5),
        "talk rather than rules": sections(
            "So what do you think we did with the {} and the {} for {} hours, my friend?"
        ),
        "date or a price": sections("From 2026-03-01 on the {} and the {} cost together €{} in the shop of the works."),
        "rows of tables": sections("| {} | {} | {} |\n| x | y | z |\n"),
    }
    for words, documents in cases.items():
        [sentence] = [one for one in said(documents) if words in one]
        assert "recipe" in sentence or "leave" in sentence


def test_two_editions_of_one_manual_are_noticed() -> None:
    first, second = sections(RULES, 60), sections(RULES, 60, "b")
    assert any("almost word for word" in one for one in said([*first, *second]))
    assert not any("word for word" in one for one in said(first))


def test_types_that_hardly_came_are_named() -> None:
    rows = [pair(number=at).model_copy(update={"type": name}) for at, name in enumerate(["recall"] * 9 + ["apply"] * 8)]
    assert of_types(rows, ["recall", "apply"]) == "Types of question: 9 recall, 8 apply."
    assert of_types(rows, ["recall", "apply", "compare"]).endswith("Under half of their share came of: compare.")
