"""Refuses answers too short to teach anything, too long to be one answer, or unlike the channel's other answers."""

import math
from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair, PairKind
from understudy.text.words import word_count

FEWEST_PAIRS = 50  # with fewer the spread of the lengths means little
LEAST_SPREAD = 0.15  # of the logarithm: a channel whose answers are all alike does not forbid one of half the length


class LengthGate:
    """Keeps a pair when its answer has enough words, not too many, and about as many as the channel's answers have."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_words: int = Field(default=15, ge=1, description="fewer words than this are no answer")
        max_words: int = Field(default=600, ge=1, description="more words than this are more than one answer")
        max_deviations: float | None = Field(
            default=4.0,
            gt=0,
            description="how many standard deviations of the channel's lengths (robust, on their logarithm) an answer "
            "may be away from their median; null turns it off, and so do fewer than 50 pairs",
        )

    VERSION = 3

    def __init__(self, options: Options) -> None:
        self.options = options
        self._usual: dict[PairKind, tuple[float, float]] = {}

    def study(self, pairs: Sequence[Pair]) -> None:
        """Take the median and the median absolute deviation of the channel's log word counts, for each kind of pair."""
        self._usual = {}
        of_kind: dict[PairKind, list[float]] = {}
        for pair in pairs:
            of_kind.setdefault(pair.kind, []).append(math.log(max(1, word_count(pair.answer))))
        for kind, lengths in of_kind.items():
            if len(lengths) >= FEWEST_PAIRS:
                middle = median(lengths)
                spread = 1.4826 * median(abs(length - middle) for length in lengths)
                self._usual[kind] = middle, max(spread, LEAST_SPREAD)

    def judge(self, pair: Pair) -> str | None:
        """Too short, too long or far from the other answers, with the number of words."""
        count = word_count(pair.answer)
        if count < self.options.min_words:
            return f"{count} words, fewer than {self.options.min_words}"
        if count > self.options.max_words:
            return f"{count} words, more than {self.options.max_words}"
        if pair.kind in self._usual and self.options.max_deviations:
            middle, spread = self._usual[pair.kind]
            away = abs(math.log(count) - middle) / spread
            if away > self.options.max_deviations:
                return f"{count} words, {away:.1f} deviations from the channel's median of {math.exp(middle):.0f}"
        return None
