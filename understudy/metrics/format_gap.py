"""How far the form of the answers is from the form of the training set's own answers."""

import re
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.metrics.gaps import by_talk, distance_intervals, gap_closed
from understudy.records import Interval, Sample
from understudy.text.markdown import Profile, profile
from understudy.text.words import sentences

RATES: dict[str, Callable[[str, Profile], bool]] = {
    "paragraphs": lambda text, shape: shape.paragraphs >= 2,
    "bold": lambda text, shape: shape.bold_spans > 0,
    "opens_bold": lambda text, shape: bool(re.match(r"\s*(?:#+ *)?\*\*\S", text)),
    "list": lambda text, shape: shape.list_items > 0,
    "header": lambda text, shape: shape.headers > 0,
    "punctuated": lambda text, shape: shape.ends_with_punctuation,
    "asks": lambda text, shape: "?" in text,
    "addresses": lambda text, shape: bool(re.search(r"\b(?:you|your)\b", text, re.IGNORECASE)),
}
AMOUNTS: dict[str, Callable[[str, Profile], float]] = {
    "words": lambda text, shape: shape.words,
    "paragraphs": lambda text, shape: shape.paragraphs,
    "sentence_words": lambda text, shape: shape.words / max(1, len(sentences(text))),
    "bold_per_100_words": lambda text, shape: 100 * shape.bold_spans / max(1, shape.words),
    "list_items": lambda text, shape: shape.list_items,
}
PLACES = 20
"""Places along the training set's own distribution where amounts are compared."""


class FormatGapMetric(BaseMetric):
    """The mean gap to the training profile, over rates and amounts, and the share of it that tuning closed.

    The gap of a rate is the absolute difference; of an amount the largest distance of the two distributions
    (Kolmogorov and Smirnov), read at 20 quantiles of the training set. 0 is the same form, 1 nothing alike.
    """

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {"format_gap_closed": "higher"}

    def __init__(self, options: BaseMetric.Options) -> None:
        super().__init__(options)
        self._places = np.zeros((len(AMOUNTS), PLACES))
        self._train = np.zeros(0)
        self._floor: dict[str, list[str]] = {}
        self._held_out: set[str] = set()

    def study(self, references: References) -> None:
        """Take the profile of the training answers."""
        if not references.train:
            return
        answers = [pair.answer for pair in references.train]
        amounts = np.array([[amount(text, profile(text)) for amount in AMOUNTS.values()] for text in answers])
        self._places = np.quantile(amounts, (np.arange(PLACES) + 0.5) / PLACES, axis=0).T
        self._train = self._counts([answers])[0]
        self._held_out = {pair.pair_id for pair in references.held_out}
        self._floor = by_talk([(pair.document_id, pair.answer) for pair in references.held_out])

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`format_gap`, from 0 to 1."""
        own = answered(samples)
        if not own or not self._train.size:
            return {}
        counts = self._counts(list(by_talk((s.document_id, s.text) for s in own).values()))
        return {"format_gap": distance_intervals(counts, self._gaps, seed, len(own))[0]}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`format_gap_closed`: 1 is the form of the teacher's held-out answers; {} where the base has it already."""
        both = answered_by_both(tuned, base, self._held_out)
        if not both or not self._train.size:
            return {}
        after, before = (by_talk((s.document_id, s.text) for s in side) for side in zip(*both, strict=True))
        floor, tuned_counts, base_counts = (
            self._counts([side[talk] for talk in after]) for side in (self._floor, after, before)
        )
        share = gap_closed(base_counts, tuned_counts, floor, self._gaps, seed, len(both))
        return {"format_gap_closed": share} if share else {}

    def _counts(self, talks: Sequence[Sequence[str]]) -> np.ndarray:
        """A row per talk: its answers, how many have each rate, how many lie at or below each place."""
        return np.array([np.sum([self._row(text) for text in texts], axis=0) for texts in talks])

    def _row(self, text: str) -> np.ndarray:
        shape = profile(text)
        rates = [float(has(text, shape)) for has in RATES.values()]
        amounts = np.array([amount(text, shape) for amount in AMOUNTS.values()])
        return np.concatenate([[1.0], rates, (amounts[:, None] <= self._places).ravel()])

    def _gaps(self, counts: np.ndarray) -> np.ndarray:
        shares = counts[:, 1:] / np.maximum(counts[:, :1], 1.0)
        gaps = np.abs(shares - self._train[1:] / self._train[0])
        amounts = gaps[:, len(RATES) :].reshape(len(counts), len(AMOUNTS), PLACES).max(axis=2)
        return np.asarray(np.concatenate([gaps[:, : len(RATES)], amounts], axis=1).mean(axis=1, keepdims=True))
