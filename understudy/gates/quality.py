"""Scores every kept pair from 0 to 1, and refuses the lowest share: what other gates let pass, at its weakest end."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text.keywords import coverage, keywords
from understudy.text.markdown import Form, well_formatted
from understudy.text.words import word_count, words

WEIGHTS = {"grounding": 0.35, "length": 0.25, "verifier": 0.15, "form": 0.15, "opening": 0.1}
UNVERIFIED = 0.7
"""Of a pair that no second model looked at: less than of an approved one, and no reproach."""
LEAST_SPREAD = 0.25
"""Of the logarithm of lengths: where all answers are alike, one of half the length is no outlier."""
OPENING_WORDS = 3
MOST_KEYWORDS = 12


class QualityGate:
    """Keeps a pair unless its score is among the lowest of the channel.

    A score is a weighted mean of: the answer's numbers and rarer words that its text has; its length against the median
    of its type; what a second model said; the form that is taught; and how rarely others begin with the same words.
    """

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        drop_lowest: float = Field(default=0.1, ge=0, lt=1, description="share of the kept pairs that is refused")
        form: Form = Field(default="markdown", description="that answers are to have")

    VERSION = 1
    LAST = True
    FOR_REFUSALS = True
    needs_talks = True
    text_of: Callable[[str], str] = staticmethod(lambda document_id: "")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._scores: dict[str, float] = {}
        self._lowest: set[str] = set()

    def study(self, pairs: Sequence[Pair]) -> None:
        """Score all pairs, and note the lowest."""
        lengths: dict[str, list[float]] = {}
        for pair in pairs:
            lengths.setdefault(_type(pair), []).append(_log_words(pair))
        usual = {name: _usual(values) for name, values in lengths.items()}
        openings = Counter(_opening(pair) for pair in pairs)
        self._scores = {
            pair.pair_id: round(self._score(pair, usual[_type(pair)], openings[_opening(pair)] / len(pairs)), 4)
            for pair in pairs
        }
        ranked = sorted(self._scores, key=lambda name: (self._scores[name], name))
        self._lowest = set(ranked[: math.floor(self.options.drop_lowest * len(ranked))])

    def scored(self, pair: Pair) -> Pair:
        """The pair with its score."""
        return pair.model_copy(update={"score": self._scores[pair.pair_id]})

    def judge(self, pair: Pair) -> str | None:
        """Among the lowest, with the score."""
        if pair.pair_id not in self._lowest:
            return None
        return f"score {self._scores[pair.pair_id]:.2f}, among the lowest {100 * self.options.drop_lowest:.0f} %"

    def _score(self, pair: Pair, usual: tuple[float, float], alike: float) -> float:
        middle, spread = usual
        parts = {
            "grounding": self._grounded(pair),
            "length": 1 / (1 + ((_log_words(pair) - middle) / (2 * spread)) ** 2),
            "verifier": UNVERIFIED if pair.verified is None else float(pair.verified),
            "form": float(well_formatted(pair.answer, self.options.form)),
            "opening": 1 - alike,
        }
        return sum(WEIGHTS[name] * value for name, value in parts.items())

    def _grounded(self, pair: Pair) -> float:
        """The share of the answer's numbers and longer words, those of its question left out, that its texts have."""
        groups = keywords(pair.question, pair.answer, {}, MOST_KEYWORDS)
        shares = [coverage(self.text_of(document_id), groups) for document_id in pair.documents]
        known = [share for share in shares if share is not None]
        # An answer over two texts has half of it from each.
        return min(1.0, sum(known)) if known else UNVERIFIED


def _type(pair: Pair) -> str:
    return pair.type or pair.kind


def _log_words(pair: Pair) -> float:
    return math.log(max(1, word_count(pair.answer)))


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """The median, and a robust deviation."""
    middle = median(values)
    return middle, max(LEAST_SPREAD, 1.4826 * fmean(abs(value - middle) for value in values))


def _opening(pair: Pair) -> str:
    return " ".join(words(pair.answer)[:OPENING_WORDS])
