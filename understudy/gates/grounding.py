"""Refuses answers whose words do not occur in the talk: those are made up."""

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.quantities import numbers, quantities
from understudy.gates.reading import digest, member, reading
from understudy.records import Pair
from understudy.text.language import FUNCTION_WORDS, language
from understudy.text.similarity import stem

if TYPE_CHECKING:
    import numpy

_FIRST_CHARACTERS = 20_000  # enough of a talk to recognize its language
_DIGIT = re.compile(r"\d")


class GroundingGate:
    """Keeps a pair when enough of its answer's words, rare words weighing more, occur in its talk."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_share: float = Field(
            default=0.45, ge=0, le=1, description="share of the answer's words, by weight, that must occur in the talk"
        )
        numbers: bool = Field(
            default=True,
            description="refuse a number with a unit that does not occur in the talk, in digits or words; English only",
        )

    VERSION = 2
    needs_talks = True
    text_of: Callable[[str], str] = staticmethod(lambda document_id: "")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._answers = 0
        self._frequencies: tuple[numpy.ndarray, numpy.ndarray] | None = None
        self._talk: _Talk | None = None

    def study(self, pairs: Sequence[Pair]) -> None:
        """Count in how many answers of the channel each word occurs."""
        import numpy as np

        self._answers, self._frequencies, self._talk = len(pairs), None, None
        if pairs:
            stems = np.concatenate([reading(pair.answer, pair).stems for pair in pairs])
            self._frequencies = np.unique(stems, return_counts=True)

    def judge(self, pair: Pair) -> str | None:
        """The share that is in the talk, or the number that is not. A talk without text refuses nothing."""
        if self._talk is None or self._talk.document_id != pair.document_id:
            self._talk = _Talk(self.text_of(pair.document_id), pair)
        talk = self._talk
        if not len(talk.stems):
            return None
        if self.options.numbers and talk.language == "en" and _DIGIT.search(pair.answer):
            for (value, _), text in quantities(pair.answer).items():
                if value not in talk.numbers:
                    return f"the talk never says {text!r}"
        share = self._share(reading(pair.answer, pair).stems, talk)
        if share >= self.options.min_share:
            return None
        return f"the talk has {share:.0%} of the answer's words by weight, fewer than {self.options.min_share:.0%}"

    def _share(self, stems: "numpy.ndarray", talk: "_Talk") -> float:
        import numpy as np

        if talk.language:
            stems = stems[~member(stems, _grammar(talk.language))]
        frequency = np.zeros(len(stems))
        if self._frequencies is not None:
            words, counts = self._frequencies
            common = member(stems, words)
            frequency[common] = counts[words.searchsorted(stems[common])]
        weight = np.log(1 + (self._answers + 1) / (frequency + 1))
        return float(weight[member(stems, talk.stems)].sum() / weight.sum()) if len(stems) else 1.0


class _Talk:
    """The words and numbers of one talk, for all its pairs in a row."""

    def __init__(self, text: str, owner: Pair) -> None:
        code = language(text[:_FIRST_CHARACTERS])
        self.document_id, self._text = owner.document_id, text
        self.stems = reading(text, owner).stems
        self.language = code if code in FUNCTION_WORDS else None

    @cached_property
    def numbers(self) -> set[float]:
        """The talk's numbers, computed when the first answer needs them."""
        return numbers(self._text)


@cache
def _grammar(language: str) -> "numpy.ndarray":
    import numpy as np

    return np.unique(np.array([digest(stem(word)) for word in FUNCTION_WORDS[language]], dtype=np.uint64))
