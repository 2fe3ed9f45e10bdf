"""Refuses answers whose words the talk does not have: what was not said there was made up."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.language import guess
from understudy.gates.quantities import numbers, quantities
from understudy.records import Pair
from understudy.similarity import FUNCTION_WORDS, stem
from understudy.text import words

_GRAMMAR = {code: frozenset(map(stem, listed)) for code, listed in FUNCTION_WORDS.items()}


class GroundingGate:
    """Keeps a pair when enough of what its answer says, rare words weighing more, is said in its talk too."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_share: float = Field(
            default=0.45, ge=0, le=1, description="share of the weight of the answer's words that the talk must have"
        )
        numbers: bool = Field(
            default=True,
            description="refuse a number with a unit that the talk never says, in digits or words; English only",
        )

    VERSION = 1
    needs_talks = True
    text_of: Callable[[str], str] = staticmethod(lambda document_id: "")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._answers, self._frequency = 0, Counter[str]()
        self._forget()

    def study(self, pairs: Sequence[Pair]) -> None:
        """Count in how many answers of the channel each word occurs."""
        self._answers, self._frequency = len(pairs), Counter()
        for pair in pairs:
            self._frequency.update(_stems(pair.answer))
        self._forget()

    def judge(self, pair: Pair) -> str | None:
        """The share the talk has, or the number it does not say. A talk without text judges nothing."""
        if self._document_id != pair.document_id:
            self._read(pair.document_id)
        if not self._said:
            return None
        if self._numbers is not None:
            for (value, _), written in quantities(pair.answer).items():
                if value not in self._numbers:
                    return f"the talk never says {written!r}"
        share = self._share(_stems(pair.answer))
        if share >= self.options.min_share:
            return None
        return f"the talk has {share:.0%} of the answer's words by weight, fewer than {self.options.min_share:.0%}"

    def _share(self, told: set[str]) -> float:
        told = told - self._grammar
        weight = {word: math.log(1 + (self._answers + 1) / (self._frequency[word] + 1)) for word in told}
        return sum(weight[word] for word in told & self._said) / sum(weight.values()) if weight else 1.0

    def _read(self, document_id: str) -> None:
        text = self.text_of(document_id)
        language = guess(text[:20_000])
        self._document_id, self._said = document_id, _stems(text)
        self._grammar = _GRAMMAR.get(language or "", frozenset())
        self._numbers = numbers(text) if self.options.numbers and language == "en" else None

    def _forget(self) -> None:
        self._document_id = ""
        self._said: set[str] = set()
        self._grammar: frozenset[str] = frozenset()
        self._numbers: set[float] | None = None


def _stems(text: str) -> set[str]:
    return set(map(stem, set(words(text))))
