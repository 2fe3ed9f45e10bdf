"""How many answers hold a passage of a training answer word for word: memorized, not learnt."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.records import Interval, Sample
from understudy.scoring.statistics import share_difference, wilson
from understudy.text.words import words

STOCK_TALKS = 3
"""A run of words in the answers of so many talks is the teacher's way of speaking, and to be learnt."""


class CopyingMetric(BaseMetric):
    """Share of the answers with a run of words that stands in a training answer, stock phrases left out."""

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {"copied": "lower"}

    class Options(BaseMetric.Options):
        """How long a copy is."""

        run_words: int = Field(default=12, ge=6, description="words in a row that chance does not repeat")

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._known: set[int] | None = None

    def study(self, references: References) -> None:
        """Remember every run of the training answers that is in one or two talks."""
        talks: dict[int, set[str]] = {}
        for pair in references.train:
            for run in self._runs(pair.answer):
                talks.setdefault(run, set()).add(pair.document_id)
        if references.train:
            self._known = {run for run, documents in talks.items() if len(documents) < STOCK_TALKS}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`copied` (Wilson), over the samples with text."""
        flags = [self._copied(sample) for sample in answered(samples)]
        return {"copied": wilson(sum(flags), len(flags))} if flags and self._known is not None else {}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base of `copied`, over the pairs both answered."""
        both = answered_by_both(tuned, base)
        if not both or self._known is None:
            return {}
        after, before = ([self._copied(sample) for sample in side] for side in zip(*both, strict=True))
        return {"copied": share_difference(after, before, [sample.document_id for sample, _ in both], seed)}

    def _copied(self, sample: Sample) -> bool:
        return any(run in (self._known or ()) for run in self._runs(sample.text or ""))

    def _runs(self, text: str) -> Iterator[int]:
        every, size = words(text), self.options.run_words
        # Digests of one process: they are never stored. Strings would hold the training set twelve times.
        return (hash(tuple(every[i : i + size])) for i in range(len(every) - size + 1))
