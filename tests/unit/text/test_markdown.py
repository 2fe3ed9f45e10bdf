"""What counts as well formatted."""

import pytest

from understudy.text.markdown import problems, profile, well_formatted

GOOD = "The **candle** burns.\n\n- **Wax** melts.\n- The *wick* lifts it."


def test_paragraphs_or_a_list_with_a_bold_term_are_well_formatted() -> None:
    assert well_formatted(GOOD)
    assert well_formatted("One **term**.\n\nAnother paragraph.")
    assert not well_formatted("One **term**.")
    assert not well_formatted("One term.\n\nAnother paragraph.")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("word " * 81 + "end.", "a wall of text: 82 words in one paragraph and no list"),
        ("A **bold that never ends.", "a ** without its partner"),
        ("* **a\n* b** c.", "a ** without its partner"),
        ("- one.\n-\n- three.", "1 empty list item"),
        ("1. one.\n2.\n3.\n\nEnd.", "2 empty list items"),
        ("First.\\n\\nSecond.", "line breaks spelled out as \\n"),
        ("Look:\n\n```py\nx = 1", "a code fence that is not closed"),
    ],
)
def test_each_problem_is_named(answer: str, problem: str) -> None:
    assert problems(answer) == [problem]


def test_an_answer_that_breaks_off_is_a_problem() -> None:
    (problem,) = problems("The flame is hot. The wax is")
    assert problem.startswith("does not end with punctuation: ...'") and "The wax is" in problem


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        "It ends in **bold.**",
        'She said "stop."',
        "Ends (in brackets).",
        "終わり。",
        "***Both*** at once.",
        "Bold **over a\nline break** is fine.",
        "A nested **bold *and italic* term** here.",
        "The gradient $\\nabla f$ and $\\nu$ are no line breaks.",
        "Code `a ** b` and `\\n` is left alone.",
        "```\n** not bold, \\n\n```",
        "Ends in code:\n\n```py\nx = 1\n```",
        "Bare items:\n\n- wax\n- wick",
        "It weighs\n\n12 kg",
        "Он весит 12 кг",
        "It is said so: $E = mc^2$",
        "The area is:\n\n\\[ A = \\pi r^2 \\]",
        "The law is:\n\nF = m · a",
        "Look at https://example.org/a?b=1",
        "It costs $20",
        "He said:\n\n— A miller of old",
        "Done! 😀",
        "Er sagte: „Halt.“",
        "ጨርሷል።",
        "เสร็จแล้ว",
        "पूरा हुआ।",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "Above.\n\n---\n\nBelow.",
        "word " * 81 + "\n\nanother paragraph.",
        "word " * 81 + ":\n\n- item.",
    ],
)
def test_good_markdown_has_no_problem(answer: str) -> None:
    assert problems(answer) == []


@pytest.mark.parametrize(
    "answer", ["It weighs 12", "It weighs 12 k", "The law is F =", "Look at the", "Er sagte: „Halt“", "这里没有结束"]
)
def test_what_is_cut_off_has_no_end(answer: str) -> None:
    assert not profile(answer).ends_with_punctuation


def test_lengths_are_counted_in_every_script() -> None:
    chinese = profile("醒面最重要的是时间。面粉和水混合以后，面筋还很紧，擀不开。\n\n再等一会儿。")
    assert 15 <= chinese.longest_paragraph_words <= 25 and 18 <= chinese.words <= 30


def test_the_profile_counts_what_is_there() -> None:
    shape = profile(
        "# Title\n\nFirst **a** and **b**.\n\n1. one\n   goes on\n2) two\n\n    indented\n\nLast\nline __c__."
    )
    assert (shape.headers, shape.paragraphs, shape.list_items, shape.bold_spans) == (1, 2, 2, 3)
    assert shape.ends_with_punctuation


def test_no_hostile_answer_keeps_the_reader_for_ever() -> None:
    for hostile in ("**" * 20_000, "**a " * 20_000, "__a" * 20_000, "* " * 20_000, "`" * 40_000):
        assert profile(hostile).headers == 0
