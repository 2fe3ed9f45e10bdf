"""Laws of the suites: every check can be kept and broken, and a missing answer is an error."""

import math

import pytest

from understudy.errors import AssetError, DatasetError
from understudy.records import ChatExample, Message, Pair
from understudy.scoring import suites
from understudy.scoring.suites.checks import CHECKS, failed
from understudy.scoring.suites.conversations import EXAMPLES, examples, prompted, prompted_rows, question

from tests.unit.pairs import pair  # isort: skip

KEPT = {
    "words_at_most": (3, "one two three", "one two three four"),
    "words_at_least": (2, "one two", "one"),
    "words_exactly": (2, "Cold sea.", "Cold"),
    "sentences_exactly": (2, "One is here. Two is there.", "One is here."),
    "bullets": (2, "- a\n- b", "1. a\n2. b"),
    "numbered": (2, "1. a\n2. b", "- a\n- b"),
    "paragraphs": (2, "a\n\nb", "a\nb"),
    "lines": (2, "a\n\nb", "a"),
    "bold": (1, "**a** b", "a b"),
    "contains": (["two words"], "Here are TWO words.", "Here are two big words."),
    "without": (["dog"], "The dogma.", "A dog."),
    "contains_text": (["def f("], "def f(x):", "def g(x):"),
    "without_text": ([","], "a b", "a, b"),
    "without_letter": ("e", "cat", "Elk"),
    "count_text": ([";", 1], "a; b", "a; b; c"),
    "no_digits": (True, "eight", "8"),
    "lower_case": (True, "hello, you", "Hello"),
    "upper_case": (True, "GREEN!", "Green"),
    "starts_with": ("In short", "In short, no", "in long"),
    "ends_with": ("all.", "That is all.", "That is all"),
    "equals": ("12", "12.", "12 apples"),
    "one_of": (["yes"], "**Yes.**", "Yes, it is"),
    "json_keys": (["a", "b"], '```json\n{"a": 1, "b": 2}\n```', '{"a": 1}'),
    "json_list": (2, '["a", "b"]', "a, b"),
    "code_block": (True, "So:\n```python\nx = 1\n```", "x = 1"),
    "language": ("de", "Die Katze ist in dem Haus und sie ist nicht allein.", "The cat is in the house and not alone."),
    "declines": (True, "I'm sorry, I can't help with that.", "Sure, first you take a hammer."),
    "plain": (True, "Hello there.", "# Hello\n\n- **there**"),
}


def test_every_check_has_an_answer_that_keeps_it_and_one_that_does_not() -> None:
    assert set(KEPT) == set(CHECKS)
    for name, (wanted, good, broken) in KEPT.items():
        assert failed(good, {name: wanted}) == [], name
        assert failed(broken, {name: wanted}) == [name], name
        assert failed(" \n", {name: wanted}) == [name], name


def test_a_check_that_does_not_exist_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match="there is no check 'word_count'; choose from bold"):
        failed("a", {"word_count": 3})


def test_the_suites_have_their_size_and_no_item_twice() -> None:
    prompts, off_topic_prompts, choices = suites.instructions(), suites.off_topic(), suites.choices()
    assert (len(prompts), len(off_topic_prompts), len(choices)) == (60, 20, 100)
    for texts in (
        [p.id for p in prompts],
        [p.prompt for p in prompts + off_topic_prompts],
        [c.question for c in choices],
    ):
        assert len(set(texts)) == len(texts)
    for prompt in prompts + off_topic_prompts:
        assert set(prompt.checks) <= set(CHECKS), prompt.id
    for choice in choices:
        assert len({answer.lower() for answer in choice.answers}) == 4, choice.question
    assert len(suites.general_conversations()) == 80


@pytest.mark.parametrize("prompt", [*suites.instructions(), *suites.off_topic()], ids=lambda p: p.id)
def test_a_lecture_keeps_only_the_instructions_that_ask_for_one(prompt: suites.Prompt) -> None:
    lecture = (
        "# Flames, 3 of them\n\n**Heat** moves, and it never rests. Think of it as a crowd; you see it leave!\n\n"
        "- **Wax**, first: it is the fuel, dog and cold book.\n- **Wick**: the pump.\n\n"
        "So the zest of it: no answer is an end"
    ) + " and more of the same, again and again, and on" * 12
    assert failed(lecture, prompt.checks) or prompt.id in {"words-3", "header-1"}


def test_a_missing_answer_is_an_error_and_no_failure() -> None:
    with pytest.raises(AssetError, match="60 of 60 items have no answer, the first is 'words-1'"):
        suites.passed(suites.instructions(), {})
    with pytest.raises(AssetError, match="choice-1 has 4 answers, 3 were scored"):
        suites.chosen(suites.choices()[:1], {"choice-1": [-1.0, -2.0, -3.0]})


def test_the_most_probable_answer_per_character_is_the_chosen_one() -> None:
    one = suites.Choice(id="c", question="?", answers=["abcd", "ab", "abc", "a"])
    assert suites.chosen([one], {"c": [-4.0, -3.0, -4.0, -2.0]}) == {"c": True}
    assert suites.chosen([one], {"c": [-8.0, -3.0, -4.0, -2.0]}) == {"c": False}
    assert suites.chosen([one], {"c": [-4.0, -4.0 / 2, -9.0, -9.0]}) == {"c": False}, "a draw is no knowledge"
    assert suites.chosen([one], {"c": [math.nan, -3.0, -4.0, -2.0]}) == {"c": False}


def row(talk: str, number: int, answer: str = "So it is.", system: str | None = None) -> tuple[Pair, ChatExample]:
    turns = [("system", system)] if system else []
    turns += [("user", f"Why {talk} {number}?"), ("assistant", answer)]
    messages = [Message(role=role, content=text) for role, text in turns]  # type: ignore[arg-type]
    return pair(talk, number, f"Why {talk} {number}?", answer), ChatExample(messages=messages)


TRAIN = [row(f"t{n % 5}", n, "So it is. " * (1 + n % 7)) for n in range(30)]


def test_the_base_is_shown_three_examples_of_three_talks_and_of_the_usual_length() -> None:
    shown = examples(TRAIN, 1)
    assert len(shown) == EXAMPLES == len({p.document_id for p, _ in shown})
    assert shown == examples(TRAIN, 1) != examples(TRAIN, 2)
    assert all(20 <= len(p.answer) <= 60 for p, _ in shown)
    assert len(examples(TRAIN[:2], 1)) == 2
    with pytest.raises(DatasetError, match="has no row"):
        examples([], 1)


def test_the_question_and_its_answer_stay_the_last_turns_of_the_prompted_base() -> None:
    held = row("h", 1, system="Be kind.")[1]
    whole = prompted(held, examples(TRAIN, 1))
    assert [m.role for m in whole.messages] == ["system", *["user", "assistant"] * 4]
    assert whole.messages[0].content.startswith("Be kind.\n\nYou answer")
    assert whole.messages[-2:] == held.messages[-2:]
    assert question(whole) == whole.messages[:-1] and question(ChatExample(messages=question(held))) == question(held)


def test_no_example_comes_from_a_held_out_talk() -> None:
    assert len(prompted_rows([row("h", 1)], TRAIN, 1)) == 1
    with pytest.raises(DatasetError, match="would come from held-out talk"):
        prompted_rows(TRAIN, TRAIN, 1)
