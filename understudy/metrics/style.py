"""How near the manner of the answers is to the teacher's answers and to the talks themselves, apart."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.metrics.gaps import by_talk, distance_intervals, gap_closed
from understudy.records import Interval, Sample
from understudy.scoring.stylometry import Ruler
from understudy.text.words import words

LEAST_WORDS = 300
"""Fewer words say nothing about a style."""
MOST_TALK_CHARACTERS = 1_000_000
MEASURES = ("delta", "characters")


class StyleMetric(BaseMetric):
    """Burrows' Delta and character distance to both references, and the share of the way that tuning closed."""

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {
        "style_gap_closed_teacher": "higher",
        "style_gap_closed_talks": "higher",
    }

    def __init__(self, options: BaseMetric.Options) -> None:
        super().__init__(options)
        self._rulers: dict[str, tuple[Ruler, np.ndarray]] = {}
        self._floors: dict[str, Mapping[str, str]] = {}
        self._held_out: set[str] = set()

    def study(self, references: References) -> None:
        """Measure both references; one with too few words is left out."""
        self._held_out = {pair.pair_id for pair in references.held_out}
        held_out = {pair.document_id for pair in references.held_out}
        answers = [pair.answer for pair in references.train]
        talks, left = [], MOST_TALK_CHARACTERS
        for name, text in references.talks.items():
            if name not in held_out and left > 0:
                talks.append(text[:left])
                left -= len(text)
        floors = {
            "teacher": by_talk([(pair.document_id, pair.answer) for pair in references.held_out]),
            "talks": {name: [text] for name, text in references.talks.items() if name in held_out},
        }
        for name, author, other in (("teacher", answers, talks), ("talks", talks, answers)):
            if _words(author) >= LEAST_WORDS:
                ruler = Ruler(author, other)
                self._rulers[name] = (ruler, ruler.counts(author).sum(axis=0))
                self._floors[name] = {talk: "\n".join(texts) for talk, texts in floors[name].items()}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`delta_teacher`, `characters_teacher` and the same to the talks; {} below 300 words."""
        own = answered(samples)
        if _words(sample.text or "" for sample in own) < LEAST_WORDS:
            return {}
        talks = by_talk((s.document_id, s.text) for s in own)
        values: dict[str, Interval] = {}
        for name, (ruler, author) in self._rulers.items():
            counts = ruler.counts(["\n".join(texts) for texts in talks.values()])
            distances = partial(ruler.distances, author=author)
            intervals = distance_intervals(counts, distances, seed, len(own))
            values |= {f"{measure}_{name}": value for measure, value in zip(MEASURES, intervals, strict=True)}
        return values

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`style_gap_closed_teacher` and `style_gap_closed_talks`: 1 means as near as the teacher's own held-out text.

        Without an entry: too few words, or the base is as near already.
        """
        both = answered_by_both(tuned, base, self._held_out)
        sides = list(zip(*both, strict=True))
        if not both or min(_words(sample.text or "" for sample in side) for side in sides) < LEAST_WORDS:
            return {}
        tuned_talks, base_talks = (by_talk((s.document_id, s.text) for s in side) for side in sides)
        shares = {}
        for name, (ruler, author) in self._rulers.items():
            talks = [talk for talk in tuned_talks if talk in self._floors[name]]
            if not talks:
                continue
            before, after = (
                ruler.counts(["\n".join(side[talk]) for talk in talks]) for side in (base_talks, tuned_talks)
            )
            floor = ruler.counts([self._floors[name][talk] for talk in talks])
            share = gap_closed(before, after, floor, partial(ruler.distances, author=author), seed, len(both))
            if share:
                shares[f"style_gap_closed_{name}"] = share
        return shares


def _words(texts: Iterable[str]) -> int:
    return sum(len(words(text)) for text in texts)
