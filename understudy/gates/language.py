"""Refuses answers in another language than the channel's."""

import re
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text.language import language, scripts

LATIN_SHARE = 0.9
_OTHER_SCRIPTS = frozenset(
    "zh ja ko cyrillic greek arabic hebrew devanagari bengali tamil telugu thai georgian ethiopic khmer".split()
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`|\$[^$]*\$", re.DOTALL)


class LanguageGate:
    """Keeps a pair when its answer is in the language of most of the channel's, or when that is unclear."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_share: float = Field(
            default=0.6, gt=0, le=1, description="share of the answers in one language that makes it the channel's"
        )

    VERSION = 3
    FOR_REFUSALS = True

    def __init__(self, options: Options) -> None:
        self.options = options
        self._language: str | None = None
        self._guesses: dict[str, str | None] = {}

    def study(self, pairs: Sequence[Pair]) -> None:
        """Find the language of most answers; a channel of several languages has none."""
        self._language = None
        self._guesses = {pair.pair_id: language(pair.answer) for pair in pairs}
        counts = Counter(filter(None, self._guesses.values()))
        if counts:
            code, count = counts.most_common(1)[0]
            self._language = code if count >= self.options.min_share * counts.total() else None

    def judge(self, pair: Pair) -> str | None:
        """The answer's language and the channel's."""
        code = self._guesses[pair.pair_id] if pair.pair_id in self._guesses else language(pair.answer)
        if code is None and self._language in _OTHER_SCRIPTS and _is_latin(pair.answer):
            code = "latin"
        if code is None or self._language is None or code == self._language:
            return None
        return f"the answer is in {code!r}, the channel in {self._language!r}"


def _is_latin(answer: str) -> bool:
    prose = _CODE.sub(" ", answer) if "`" in answer or "$" in answer else answer
    return scripts(prose).get("LATIN", 0) > LATIN_SHARE
