"""Refuses answers whose words the talk does not have: what was not said there was made up."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.quantities import numbers, quantities
from understudy.gates.reading import digest, member, reading
from understudy.records import Pair
from understudy.text.language import FUNCTION_WORDS, language
from understudy.text.similarity import stem

if TYPE_CHECKING:
    import numpy

_FIRST_CHARACTERS = 20_000  # enough of a talk to tell its language
_DIGIT = re.compile(r"\d")


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

    VERSION = 2
    needs_talks = True
    text_of: Callable[[str], str] = staticmethod(lambda document_id: "")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._answers = 0
        self._counted: tuple[Any, Any] | None = None
        self._forget()

    def study(self, pairs: Sequence[Pair]) -> None:
        """Count in how many answers of the channel each word occurs."""
        import numpy as np

        self._answers, self._counted = len(pairs), None
        if pairs:
            told = np.concatenate([reading(pair.answer, pair).stems for pair in pairs])
            self._counted = np.unique(told, return_counts=True)
        self._forget()

    def judge(self, pair: Pair) -> str | None:
        """The share the talk has, or the number it does not say. A talk without text judges nothing."""
        if self._document_id != pair.document_id:
            self._read(pair)
        if self._said is None or not len(self._said):
            return None
        if self._judges_numbers and _DIGIT.search(pair.answer):
            for (value, _), written in quantities(pair.answer).items():
                if value not in self._numbers():
                    return f"the talk never says {written!r}"
        share = self._share(reading(pair.answer, pair).stems)
        if share >= self.options.min_share:
            return None
        return f"the talk has {share:.0%} of the answer's words by weight, fewer than {self.options.min_share:.0%}"

    def _share(self, told: "numpy.ndarray") -> float:
        import numpy as np

        if self._language:
            told = told[~member(told, _grammar(self._language))]
        frequency = np.zeros(len(told))
        if self._counted is not None:
            known, counts = self._counted
            found = member(told, known)
            frequency[found] = counts[known.searchsorted(told[found])]
        weight = np.log(1 + (self._answers + 1) / (frequency + 1))
        return float(weight[member(told, self._said)].sum() / weight.sum()) if len(told) else 1.0

    def _read(self, pair: Pair) -> None:
        self._document_id, self._text = pair.document_id, self.text_of(pair.document_id)
        talk = reading(self._text, pair)
        code = language(self._text[:_FIRST_CHARACTERS])
        self._said, self._language = talk.stems, code if code in FUNCTION_WORDS else None
        self._judges_numbers, self._found = self.options.numbers and code == "en", None

    def _numbers(self) -> set[float]:
        """The talk's numbers, read when the first answer needs them."""
        if self._found is None:
            self._found = numbers(self._text)
        return self._found

    def _forget(self) -> None:
        self._document_id, self._text = "", ""
        self._said: Any = None
        self._language: str | None = None
        self._judges_numbers = False
        self._found: set[float] | None = None


@cache
def _grammar(language: str) -> "numpy.ndarray":
    import numpy as np

    return np.unique(np.array([digest(stem(word)) for word in FUNCTION_WORDS[language]], dtype=np.uint64))
