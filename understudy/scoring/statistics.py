"""
How sure a number is, with numpy alone: bootstrap over talks, Wilson, the sign test, McNemar.

Answers of one talk resemble each other, so talks are drawn, never single answers. A percentile
bootstrap over few talks is too narrow: it cannot leave the range of the talks it has (of intervals
that should hold the truth 95 times in 100 it held 51 with 2 talks, 83 with 5, 92 with 10). So an end
is never nearer than Student's t allows, for so many talks; from about 30 talks on that changes little.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from understudy.records import Interval

Z = 1.959963984540054
DRAWS = 10_000
DRAWN_AT_ONCE = 1_000_000
"""Draws x talks held in memory at a time: three arrays of 8 MB."""

_T_SMALL = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105}


def mean_interval(
    values: Sequence[float],
    clusters: Sequence[str],
    seed: int,
    draws: int = DRAWS,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """The mean of `values`, with a 95 % interval by bootstrap over `clusters`."""
    return ratio_interval(values, [1.0] * len(values), clusters, seed, draws, bounds)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Sequence[str],
    seed: int,
    draws: int = DRAWS,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """The sum of `numerators` over the sum of `denominators`, bootstrap over `clusters`.

    The three sequences run in parallel, one entry per answer; denominators are positive. `bounds`
    are values the number cannot leave. With one cluster the spread between clusters is
    unknown: the interval is then over answers, too narrow, and no verdict may be built on it.
    """
    if not len(numerators):
        raise ValueError("an interval needs at least one answer, got none")
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) == 1:
        index = np.arange(len(numerators))
    top = np.bincount(index, weights=np.asarray(numerators, dtype=np.float64))
    bottom = np.bincount(index, weights=np.asarray(denominators, dtype=np.float64))
    value = float(top.sum() / bottom.sum())
    drawn = _draw(top, bottom, seed, draws)
    low, high = percentile_ends(drawn)
    least = max(_t_over_talks(float(drawn.std()), len(top)), _t_over_answers(numerators, denominators, value))
    ends = [min(low, value - least), max(high, value + least)]
    if bounds:
        ends = [min(max(end, bounds[0]), bounds[1]) for end in ends]
    return Interval(value=value, low=ends[0], high=ends[1], n=len(numerators))


def in_turn(clusters: Sequence[str]) -> list[int]:
    """The places of all entries, one of each cluster in turn: the first few of them are of many clusters."""
    seen: Counter[str] = Counter()
    rank = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    turns = []
    for place, cluster in enumerate(clusters):
        turns.append((seen[cluster], rank[cluster], place))
        seen[cluster] += 1
    return [place for _, _, place in sorted(turns)]


def percentile_ends(drawn: np.ndarray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the draws, between two draws in proportion."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def multiplicities(clusters: int, seed: int, draws: int = 2_000) -> np.ndarray:
    """How often each of `clusters` talks is in each draw: shape (draws, clusters), rows that sum to `clusters`."""
    return np.random.default_rng(seed).multinomial(clusters, [1 / clusters] * clusters, size=draws)


def drawn_interval(value: float, drawn: np.ndarray, clusters: int, n: int) -> Interval:
    """The interval of any statistic from its `drawn` values over `clusters` talks, never nearer than Student's t."""
    low, high = percentile_ends(drawn)
    least = _t_over_talks(float(drawn.std()), clusters)
    return Interval(value=value, low=min(low, value - least), high=max(high, value + least), n=n)


def _draw(top: np.ndarray, bottom: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """`draws` ratios, each over as many clusters as there are, drawn with replacement."""
    rng, count = np.random.default_rng(seed), len(top)
    at_once = max(1, DRAWN_AT_ONCE // count)
    pieces = []
    for start in range(0, draws, at_once):
        chosen = rng.integers(count, size=(min(at_once, draws - start), count))
        pieces.append(top[chosen].sum(axis=1) / bottom[chosen].sum(axis=1))
    return np.concatenate(pieces)


def _t_over_talks(spread: float, clusters: int) -> float:
    """Half of the t interval, from the standard deviation of the draws; 0 for one cluster.

    Draws over k clusters spread less than the mean they imitate, by sqrt((k - 1) / k).
    """
    return student_t(clusters - 1) * spread * math.sqrt(clusters / (clusters - 1)) if clusters > 1 else 0.0


def _t_over_answers(numerators: Sequence[float], denominators: Sequence[float], value: float) -> float:
    """Half of the t interval as if answers were independent: few talks may agree by chance, answers seldom do."""
    bottom = np.asarray(denominators, dtype=np.float64)
    rests = np.asarray(numerators, dtype=np.float64) - value * bottom
    n = len(rests)
    return student_t(n - 1) * math.sqrt(n / (n - 1) * float(rests @ rests)) / float(bottom.sum()) if n > 1 else 0.0


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: exact up to 4 degrees of freedom, then within 0.003.

    Cornish-Fisher expansion about the normal quantile (Abramowitz and Stegun, 26.7.5).
    """
    if freedom in _T_SMALL:
        return _T_SMALL[freedom]
    z = Z
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / float(freedom ** (power + 1)) for power, term in enumerate(terms))


def wilson(successes: int, n: int) -> Interval:
    """The share `successes` of `n`, with its 95 % Wilson score interval."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a share needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    share, spread = successes / n, Z * Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # At 0 and at n the formula's end is the share itself but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(value=share, low=low, high=high, n=n)


def mean_change(changes: Sequence[float], clusters: Sequence[str], seed: int, draws: int = DRAWS) -> Interval:
    """The mean of changes from -1 to 1, with a 95 % interval by bootstrap over `clusters`.

    When all changes are equal the bootstrap sees no spread at all; what 0 exceptions of n leave open
    is then Wilson's upper bound of 0 of n, so that 5 answers do not look like proof.
    """
    interval = mean_interval(changes, clusters, seed, draws, bounds=(-1.0, 1.0))
    if len(set(changes)) > 1:
        return interval
    unseen = wilson(0, len(changes)).high
    low, high = max(-1.0, interval.value - unseen), min(1.0, interval.value + unseen)
    return Interval(value=interval.value, low=low, high=high, n=interval.n)


def share_difference(
    tuned: Sequence[bool], base: Sequence[bool], clusters: Sequence[str], seed: int, draws: int = DRAWS
) -> Interval:
    """Tuned minus base of two shares over the same answers, with its interval by bootstrap over `clusters`."""
    return mean_change([float(t) - float(b) for t, b in zip(tuned, base, strict=True)], clusters, seed, draws)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p that a fair coin splits at least this unevenly; ties are left out before."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2 * float(tail / 2**n))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided p that two yes-or-no outcomes of the same answers have the same rate."""
    pairs = list(zip(first, second, strict=True))
    return sign_test(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))


def kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two raters over the same answers; None where chance alone already agrees on everything.

    Raises ValueError for no answers, or not equally many.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs:
        raise ValueError("agreement needs at least one answer that both rated, got none")
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    chance = sum(
        (sum(a == name for a, _ in pairs) / len(pairs)) * (sum(b == name for _, b in pairs) / len(pairs))
        for name in {name for pair in pairs for name in pair}
    )
    return (agreed - chance) / (1 - chance) if chance < 1 else None
