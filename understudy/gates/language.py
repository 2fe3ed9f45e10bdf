"""Refuses answers in another language than the channel's."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.reading import Reading, digest, reading
from understudy.records import Pair
from understudy.text.similarity import FUNCTION_WORDS

if TYPE_CHECKING:
    import numpy

_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "greek": re.compile(r"[\u0370-\u03ff]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
    "hebrew": re.compile(r"[\u0590-\u05ff]"),
    "devanagari": re.compile(r"[\u0900-\u097f]"),
    "thai": re.compile(r"[\u0e00-\u0e7f]"),
}
_ANY_SCRIPT = re.compile("[" + "".join(pattern.pattern.strip("[]") for pattern in _SCRIPTS.values()) + "]")
_LETTER = re.compile(r"[^\W\d_]")
_FEWEST_HITS = 5
_LEAD = 1.3


def guess(text: str, said: "numpy.ndarray | None" = None) -> str | None:
    """The language of `text` by script or function words (a script's name where several share it), or None.

    `said` is the digests of its words, where they are known.
    """
    if not text.isascii() and _ANY_SCRIPT.search(text):
        letters = len(_LETTER.findall(text))
        signs = {script: len(pattern.findall(text)) for script, pattern in _SCRIPTS.items()}
        if signs["ja"] > 0.1 * letters:
            return "ja"
        script = max(signs, key=lambda name: signs[name])
        if signs[script] > 0.5 * letters:
            return script
    hits = _hits(Reading(text).words if said is None else said)
    first, second = sorted(hits, key=lambda code: -hits[code])[:2]
    return first if hits[first] >= max(_FEWEST_HITS, _LEAD * hits[second]) else None


def _hits(said: "numpy.ndarray") -> dict[str, int]:
    """How many words of a text are function words of each language."""
    import numpy as np

    known, belongs = _table()
    at = np.minimum(known.searchsorted(said), len(known) - 1)
    return dict(zip(FUNCTION_WORDS, belongs[at[known[at] == said]].sum(axis=0).tolist(), strict=True))


@cache
def _table() -> "tuple[numpy.ndarray, numpy.ndarray]":
    """The digests of all function words, ascending, and which languages each belongs to."""
    import numpy as np

    every = {digest(word): word for listed in FUNCTION_WORDS.values() for word in listed}
    belongs = [[every[number] in listed for listed in FUNCTION_WORDS.values()] for number in sorted(every)]
    return np.array(sorted(every), dtype=np.uint64), np.array(belongs)


class LanguageGate:
    """Keeps a pair when its answer is in the language of most of the channel's, or when that cannot be told."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_share: float = Field(
            default=0.6, gt=0, le=1, description="share of the answers in one language that makes it the channel's"
        )

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.options = options
        self._language: str | None = None
        self._guesses: dict[str, str | None] = {}

    def study(self, pairs: Sequence[Pair]) -> None:
        """Find the language of most answers; a channel of several languages has none."""
        self._language = None
        self._guesses = {pair.pair_id: guess(pair.answer, reading(pair.answer, pair).words) for pair in pairs}
        told = Counter(filter(None, self._guesses.values()))
        if told:
            language, count = told.most_common(1)[0]
            self._language = language if count >= self.options.min_share * told.total() else None

    def judge(self, pair: Pair) -> str | None:
        """The answer's language and the channel's."""
        found = self._guesses[pair.pair_id] if pair.pair_id in self._guesses else guess(pair.answer)
        if found is None or self._language is None or found == self._language:
            return None
        return f"the answer is in {found!r}, the channel in {self._language!r}"
