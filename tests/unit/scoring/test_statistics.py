"""Laws of the intervals, and values worked out by hand."""

import math

import numpy as np
import pytest

from understudy.scoring.statistics import (
    _draw,
    drawn_interval,
    in_turn,
    kappa,
    mcnemar,
    mean_interval,
    multiplicities,
    percentile_ends,
    ratio_interval,
    share_difference,
    sign_test,
    student_t,
    wilson,
)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.repeat(np.random.default_rng(5).normal(size=10), 4).tolist()
    talks = [str(i // 4) for i in range(40)]
    assert mean_interval(values, talks, 1) == mean_interval(values, talks, 1)
    assert mean_interval(values, talks, 1) != mean_interval(values, talks, 2)


def test_the_interval_holds_the_value_and_counts_answers() -> None:
    interval = ratio_interval([3.0, 1.0, 2.0], [1.0, 2.0, 1.0], ["a", "b", "b"], 0)
    assert interval.value == pytest.approx(6 / 4)
    assert interval.low <= interval.value <= interval.high
    assert interval.n == 3


def test_answers_of_one_talk_are_drawn_together() -> None:
    values = [0.0] * 50 + [1.0] * 50
    alone = mean_interval(values, [str(i) for i in range(100)], 0)
    talks = mean_interval(values, [str(i // 25) for i in range(100)], 0)
    assert talks.high - talks.low > 4 * (alone.high - alone.low)


def test_with_many_talks_the_interval_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = mean_interval(values.tolist(), [str(i) for i in range(400)], 0)
    half = 1.96 * values.std(ddof=1) / 20
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.05)


def test_two_talks_that_agree_by_chance_do_not_look_certain() -> None:
    interval = mean_interval([0.0, 1.0] * 5, ["a"] * 4 + ["b"] * 6, 0)
    assert interval.high - interval.low > 0.5


def test_one_talk_gives_a_finite_interval_over_its_answers() -> None:
    interval = mean_interval([1.0, 2.0, 3.0], ["a"] * 3, 0)
    assert math.isfinite(interval.low) and interval.low < 2.0 < interval.high


def test_an_interval_stays_within_its_bounds() -> None:
    interval = mean_interval([0.0, 1.0, 1.0], ["a", "b", "c"], 0, bounds=(0.0, 1.0))
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_no_answers_have_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        mean_interval([], [], 0)


@pytest.mark.parametrize("talks", [2, 3, 5, 10, 20])
def test_95_of_100_intervals_hold_the_truth_however_few_talks(talks: int) -> None:
    """Nominal 95 %; a plain percentile bootstrap covers about 75 % with 3 talks and 84 % with 5."""
    rng, held = np.random.default_rng(talks), 0
    clusters = [str(i // 5) for i in range(5 * talks)]
    for seed in range(200):
        values = np.repeat(rng.normal(size=talks), 5) + rng.normal(size=5 * talks)
        interval = mean_interval(values.tolist(), clusters, seed, draws=400)
        held += interval.low <= 0 <= interval.high
    assert held >= 178  # under a true 95 %, fewer than this happen once in 2,000 times


@pytest.mark.parametrize(
    ("freedom", "known"), [(1, 12.706), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (10**6, 1.960)]
)
def test_the_t_quantile_is_the_tabled_one(freedom: int, known: float) -> None:
    assert student_t(freedom) == pytest.approx(known, abs=0.004)


def test_two_talks_give_the_t_interval() -> None:
    interval = mean_interval([1.0, 2.0], ["a", "b"], 0)
    assert interval.high - 1.5 == pytest.approx(12.706 * 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 3, 0.0615, 0.7923)],
)
def test_wilson_gives_the_known_values(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert interval.value == successes / n


def test_wilson_refuses_a_share_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def test_the_sign_test_gives_the_known_values() -> None:
    assert sign_test(1, 5) == pytest.approx(14 / 64)
    assert sign_test(15, 5) == pytest.approx(0.0414, abs=1e-4)
    assert sign_test(14, 6) > 0.05
    assert sign_test(0, 0) == 1.0


def test_mcnemar_looks_at_changed_answers_only() -> None:
    assert mcnemar([True] * 40 + [True] * 9 + [False], [True] * 40 + [False] * 9 + [True]) == sign_test(9, 1)


def test_no_change_in_few_answers_proves_little_and_in_many_much() -> None:
    few = share_difference([False] * 5, [False] * 5, list("abcde"), 0)
    many = share_difference([False] * 200, [False] * 200, [str(i // 10) for i in range(200)], 0)
    assert few.high > 0.4
    assert many.high < 0.02


def test_the_bootstrap_percentiles_are_scipys_over_the_same_draws() -> None:
    stats = pytest.importorskip("scipy.stats")
    for seed, talks in ((0, 7), (1, 20), (2, 60)):
        values = np.random.default_rng(100 + seed).normal(size=talks)
        ours = percentile_ends(_draw(values, np.ones(talks), seed, 2_000))
        rng = np.random.default_rng(seed)
        theirs = stats.bootstrap((values,), np.mean, n_resamples=2_000, method="percentile", rng=rng)
        assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1e-6)


def test_wilson_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for successes, n in ((0, 1), (0, 100), (1, 3), (7, 15), (50, 100), (99, 100), (1000, 1000)):
        theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
        ours = wilson(successes, n)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_the_sign_test_and_mcnemars_are_scipys_exact_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for wins, losses in ((0, 1), (1, 5), (5, 5), (15, 5), (9, 1), (300, 260), (1200, 1000)):
        assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, abs=1e-6)
        first = [True] * wins + [False] * losses + [True] * 9
        second = [False] * wins + [True] * losses + [True] * 9
        assert mcnemar(first, second) == sign_test(wins, losses)


def test_each_draw_has_as_many_talks_as_there_are() -> None:
    drawn = multiplicities(9, 4, 50)
    assert drawn.shape == (50, 9) and set(drawn.sum(axis=1)) == {9}
    assert (drawn == multiplicities(9, 4, 50)).all() and (drawn != multiplicities(9, 5, 50)).any()


def test_the_interval_of_drawn_means_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(size=12)
    drawn = multiplicities(12, 0, 10_000) @ values / 12
    ours = drawn_interval(float(values.mean()), drawn, 12, 12)
    known = mean_interval(values.tolist(), [str(i) for i in range(12)], 0)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=0.02)


def test_kappa_is_the_textbook_one() -> None:
    first, second = ["a"] * 25 + ["b"] * 25, ["a"] * 20 + ["b"] * 5 + ["a"] * 10 + ["b"] * 15
    assert kappa(first, second) == pytest.approx(0.4)
    assert kappa(["a", "b"], ["a", "b"]) == 1.0 and kappa(["a", "b"], ["b", "a"]) == -1.0
    assert kappa(["a", "a"], ["a", "a"]) is None
    with pytest.raises(ValueError, match="got none"):
        kappa([], [])


def test_the_first_few_in_turn_are_of_many_clusters() -> None:
    clusters = ["a", "a", "a", "b", "c", "c"]
    assert in_turn(clusters) == [0, 3, 4, 1, 5, 2] and in_turn([]) == []
