"""
Metrics: one number each over what a candidate did with the held-out pairs.

A metric class may carry `better`: name > 'lower' or 'higher'. The names in it get a verdict word
on the scorecard; the others are shown without one.
"""

from collections.abc import Collection, Sequence

from pydantic import BaseModel, ConfigDict

from understudy.interfaces import References
from understudy.records import Sample


class BaseMetric:
    """A metric that has no option, reads only samples and is possible everywhere."""

    class Options(BaseModel):
        """None."""

        model_config = ConfigDict(extra="forbid")

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """None: every engine gives what it needs."""
        return []

    def study(self, references: References) -> None:
        """Nothing: it needs no reference but the samples' own."""


def answered(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that have an answer of the candidate's own."""
    return [sample for sample in samples if sample.text is not None]


def answered_by_both(
    tuned: Sequence[Sample], base: Sequence[Sample], among: Collection[str] | None = None
) -> list[tuple[Sample, Sample]]:
    """(tuned, base) of the pairs that both answered; only of those whose id is in `among`, where it is given."""
    before = {s.pair_id: s for s in answered(base) if among is None or s.pair_id in among}
    return [(after, before[after.pair_id]) for after in answered(tuned) if after.pair_id in before]
