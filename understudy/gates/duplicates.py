"""Refuses a question that was asked before, in the same or nearly the same words."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.similarity import components, near_duplicates


class DuplicatesGate:
    """Keeps, of each group of near-duplicate questions, the pair with the longest answer."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        threshold: float = Field(default=0.7, gt=0, le=1, description="share of the words' weight that is the same")

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.options = options
        self._twin: dict[str, str] = {}

    def study(self, pairs: Sequence[Pair]) -> None:
        """Group the channel's questions and choose which of each group stays."""
        links = near_duplicates([pair.question for pair in pairs], self.options.threshold)
        groups: dict[int, list[Pair]] = {}
        for pair, group in zip(pairs, components(len(pairs), links), strict=True):
            groups.setdefault(group, []).append(pair)
        for group in groups.values():
            best = max(group, key=lambda pair: (len(pair.answer), pair.pair_id))
            self._twin |= {pair.pair_id: best.pair_id for pair in group if pair is not best}

    def judge(self, pair: Pair) -> str | None:
        """The pair that is kept instead."""
        twin = self._twin.get(pair.pair_id)
        return f"near-duplicate of {twin}" if twin else None
