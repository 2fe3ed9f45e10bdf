"""Whether an answer by heart says what it must: the numbers of the reference, or its rarer words where it has none."""

from collections.abc import Sequence
from typing import Literal

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.records import Interval, Pair, Sample
from understudy.scoring.statistics import mean_change, mean_interval
from understudy.text import keywords


class CorrectnessMetric(BaseMetric):
    """`correct`: the share of answers with every number and code of the reference; `facts_given`: of all keywords.

    A quick check, and no full judgement: an answer can hold the words and still be wrong. What must be mentioned stands
    in `Pair.keywords`, which were written down with the dataset.
    """

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {"correct": "higher", "facts_given": "higher"}

    def __init__(self, options: BaseMetric.Options) -> None:
        super().__init__(options)
        self._pairs: dict[str, Pair] = {}

    def study(self, references: References) -> None:
        """Learn what must be mentioned."""
        self._pairs = {pair.pair_id: pair for pair in references.held_out if pair.keywords}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Both means, by bootstrap over sections."""
        own = [sample for sample in answered(samples) if sample.pair_id in self._pairs]
        return {
            name: mean_interval(values, [s.document_id for s in own], seed, bounds=(0.0, 1.0))
            for name, values in self._values(own).items()
            if values
        }

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base of both, paired by question, by bootstrap over sections."""
        both = answered_by_both(tuned, base, self._pairs)
        after, before = self._values([a for a, _ in both]), self._values([b for _, b in both])
        sections = [a.document_id for a, _ in both]
        changes = {name: [x - y for x, y in zip(after[name], before[name], strict=True)] for name in after}
        return {name: mean_change(values, sections, seed) for name, values in changes.items() if values}

    def _values(self, samples: Sequence[Sample]) -> dict[str, list[float]]:
        pairs = [(sample.text or "", self._pairs[sample.pair_id]) for sample in samples]
        return {
            "correct": [float(keywords.right(text, pair.keywords)) for text, pair in pairs],
            "facts_given": [keywords.coverage(text, pair.keywords) or 0.0 for text, pair in pairs],
        }
