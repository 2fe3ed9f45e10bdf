"""Laws of the settings that a preset leaves out: enough steps, a rate that fits the size, and what is set wins."""

import pytest

from understudy.trainers.suggested import suggest

SIZES = [135_000_000, 600_000_000, 1_200_000_000, 3_200_000_000, 8_000_000_000]


def test_a_larger_base_is_never_trained_at_a_higher_rate() -> None:
    rates = [suggest(size, 300).options["learning_rate"] for size in SIZES]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1e-3, rel=0.1) and 1e-4 <= rates[-1] <= 3e-4


@pytest.mark.parametrize("rows", [30, 71, 250, 1_000, 3_000, 20_000])
def test_there_are_enough_steps_and_never_more_than_three_passes_over_many_rows(rows: int) -> None:
    options = suggest(SIZES[0], rows).options
    assert rows * options["epochs"] / (options["batch_size"] * options["gradient_accumulation_steps"]) >= 35
    assert options["epochs"] <= 3 or rows < 40


def test_a_long_run_takes_a_lower_rate_than_a_short_one() -> None:
    assert suggest(SIZES[2], 20_000).options["learning_rate"] < suggest(SIZES[2], 200).options["learning_rate"]


def test_a_real_base_never_gets_the_rate_of_the_tiny_one() -> None:
    assert suggest(1_000_000, 100).options["learning_rate"] == 2e-3
    assert all(suggest(size, 100).options["learning_rate"] <= 1e-3 for size in SIZES)


def test_the_reason_names_size_and_rows() -> None:
    assert suggest(135_000_000, 234).reason == "a base of 135 million parameters and 234 train rows"
