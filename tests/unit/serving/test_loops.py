"""A small model that repeats itself is stopped, and nothing that people write is."""

import pytest

from understudy.serving.chat import repeats

WAX = "The wax melts first, and the wick draws it up. "


@pytest.mark.parametrize("text", [WAX * 3, "Well. " + WAX * 3, "and so on " * 9, "A flame needs air.\n\n" * 3])
def test_a_passage_three_times_in_a_row_is_a_loop(text: str) -> None:
    assert any(repeats(text[:end]) for end in range(len(text) + 1))


@pytest.mark.parametrize(
    "text",
    [
        WAX * 2,
        WAX + "Then it burns. " + WAX + "Then it cools. " + WAX,
        "| wick | wax |\n|------|------|------|------|------|------|------|------|\n",
        "- one candle\n- two candles\n- three candles\n- four candles\n",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24",
        "=" * 200,
        "no, no, no, she said",
    ],
)
def test_what_people_write_is_no_loop(text: str) -> None:
    assert not any(repeats(text[:end]) for end in range(len(text) + 1))
