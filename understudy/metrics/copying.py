"""How many answers hold a passage of a training answer word for word: learnt by heart, not learnt."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.interfaces import References
from understudy.records import Interval, Sample
from understudy.scoring.statistics import share_difference, wilson
from understudy.text.words import words

STOCK_TALKS = 3
"""What stands in the answers of so many talks is the teacher's way of speaking, and to be learnt."""


class CopyingMetric:
    """Share of the answers with a run of words that stands in a training answer, stock phrases left out."""

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {"copied": "lower"}

    class Options(BaseModel):
        """How long a copy is."""

        model_config = ConfigDict(extra="forbid")
        run_words: int = Field(default=12, ge=6, description="words in a row that chance does not repeat")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._known: set[int] | None = None

    def problems(self) -> list[str]:
        """Nothing: it reads text."""
        return []

    def study(self, references: References) -> None:
        """Remember every run of the training answers that is in one or two talks."""
        if not references.train:
            return
        talks: dict[int, set[str]] = {}
        for pair in references.train:
            for run in self._runs(pair.answer):
                talks.setdefault(run, set()).add(pair.document_id)
        self._known = {run for run, where in talks.items() if len(where) < STOCK_TALKS}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`copied` (Wilson), over the samples with text."""
        found = self._copied(samples)
        return {"copied": wilson(sum(flag for _, flag in found.values()), len(found))} if found else {}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base of `copied`, over the pairs both answered."""
        after, before = self._copied(tuned), self._copied(base)
        both = [name for name in after if name in before]
        if not both:
            return {}
        flags = ([after[name][1] for name in both], [before[name][1] for name in both])
        return {"copied": share_difference(*flags, [after[name][0] for name in both], seed)}

    def _copied(self, samples: Sequence[Sample]) -> dict[str, tuple[str, bool]]:
        known = self._known
        if known is None:
            return {}
        said = [sample for sample in samples if sample.text is not None]
        return {s.pair_id: (s.document_id, any(run in known for run in self._runs(s.text or ""))) for s in said}

    def _runs(self, text: str) -> Iterator[int]:
        said, size = words(text), self.options.run_words
        # Digests of one process: they are never kept. Strings would hold the training set twelve times.
        return (hash(tuple(said[i : i + size])) for i in range(len(said) - size + 1))
