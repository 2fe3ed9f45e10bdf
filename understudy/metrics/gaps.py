"""How much of the way from the base to a reference the tuned model went, for any distance that talks add up to."""

from collections.abc import Callable, Iterable

import numpy as np

from understudy.records import Interval
from understudy.scoring.statistics import drawn_interval, multiplicities

DRAWS = 1_000
LEAST_OF_BASE = 0.1
"""A base nearer to the reference than this share of its own distance has no gap to close."""

Distances = Callable[[np.ndarray], np.ndarray]
"""Summed rows of counts, one per draw > distances, shape (draws, measures)."""


def gap_closed(
    base: np.ndarray, tuned: np.ndarray, floor: np.ndarray, distances: Distances, seed: int, answers: int
) -> Interval | None:
    """The share of base's gap, its distance beyond the floor, that tuned closed: 1 is all of it, below 0 it widened.

    `base`, `tuned` and `floor` are counts with one row per held-out talk, the same talks in the same order; the
    floor is the teacher's own held-out answers, as no model can be expected to be nearer. Draws take all three
    together. None when the base is as near as the floor. Each measure has its share, then they are averaged.
    """
    whole = [distances(counts.sum(axis=0, keepdims=True))[0] for counts in (base, tuned, floor)]
    gap = whole[0] - whole[2]
    usable = gap > LEAST_OF_BASE * whole[0]
    if not usable.any():
        return None
    drawn = multiplicities(len(base), seed, DRAWS).astype(np.float64)
    b, t, f = (distances(drawn @ counts) for counts in (base, tuned, floor))
    # A drawn gap of about nothing would make the share explode: it is held to a quarter of the whole one.
    shares = (b - t) / np.maximum(b - f, 0.25 * gap)
    value = float(((whole[0] - whole[1]) / gap)[usable].mean())
    return drawn_interval(value, shares[:, usable].mean(axis=1), len(base), answers)


def distance_intervals(counts: np.ndarray, distances: Distances, seed: int, answers: int) -> list[Interval]:
    """Each distance of a candidate with its interval, over talks; a distance is never below 0."""
    drawn = distances(multiplicities(len(counts), seed, DRAWS).astype(np.float64) @ counts)
    whole = distances(counts.sum(axis=0, keepdims=True))[0]
    intervals = [drawn_interval(float(value), drawn[:, i], len(counts), answers) for i, value in enumerate(whole)]
    return [interval.model_copy(update={"low": max(0.0, interval.low)}) for interval in intervals]


def by_talk(texts: Iterable[tuple[str, str | None]]) -> dict[str, list[str]]:
    """Document id > the texts of that talk, in the order they come."""
    talks: dict[str, list[str]] = {}
    for talk, text in texts:
        talks.setdefault(talk, []).append(text or "")
    return talks
