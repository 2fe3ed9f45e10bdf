"""Refuses answers that say a sentence again, go round in circles, or begin with their own question."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text.words import CLOSERS, QUESTION_MARKS, TERMINALS, unspaced, word_count, words

_PIECES = re.compile(rf"[{re.escape(TERMINALS)}\n]+")
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
_LOOP_WORDS = 4
_AFTER_QUESTION = frozenset(TERMINALS + QUESTION_MARKS + ":：\n-–—")
_SHORTEST_ECHO = 8  # letters: "Why?" may begin an answer


class RepetitionGate:
    """Keeps a pair when its answer says everything once, and does not ask what it answers."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        least_words: int = Field(default=6, ge=1, description="a sentence of so many words may stand only once")
        max_loop_share: float = Field(
            default=0.4, gt=0, le=1, description="share of the runs of 4 words that may have come before"
        )

    VERSION = 1
    FOR_REFUSALS = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """The sentence that comes again, or that the answer begins with its question."""
        if _echoes(pair.question, pair.answer):
            return "the answer begins with its question"
        answer = pair.answer
        if "```" in answer or "~~~" in answer:
            answer = _FENCED.sub("\n", answer)
        pieces = [stripped for piece in _PIECES.split(answer) if (stripped := piece.strip())]
        if len(set(pieces)) < len(pieces) and (again := self._again(pieces)):
            return f"says again: {again[:60]!r}"
        if max(map(len, pieces), default=0) > 240 and _loop_share(answer) > self.options.max_loop_share:
            return "goes round in circles"
        return None

    def _again(self, pieces: Sequence[str]) -> str | None:
        for piece, count in Counter(pieces).items():
            # A row of a table may come twice.
            if count > 1 and "|" not in piece:
                length = word_count(piece)
                if length >= self.options.least_words or (count > 3 and length >= self.options.least_words / 2):
                    return piece
        return None


def _loop_share(text: str) -> float:
    every = words(text)
    runs = list(zip(*(every[at:] for at in range(_LOOP_WORDS)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _echoes(question: str, answer: str) -> bool:
    """Whether `answer` begins with the letters of `question`, whatever marks are between, and a mark follows."""
    wanted = _letters(question)
    head = answer[: 2 * len(question) + 40]
    if len(wanted) < (_SHORTEST_ECHO if not unspaced(question) else _SHORTEST_ECHO // 2):
        return False
    at = next((i for i, c in enumerate(head) if c.isalnum()), 0)
    if head[at : at + 1].casefold() != wanted[0]:
        # "Question:", "Q:" or "1." before it.
        label = re.match(r"\W*\w{1,10}[ \d]{0,4}[:：.]\s*", head)
        if label is None:
            return False
        at = label.end()
    left = len(wanted)
    for place in range(at, len(head)):
        folded = head[place].casefold()
        if folded.isalnum():
            if not wanted.startswith(folded, len(wanted) - left):
                return False
            left -= len(folded)
        if left == 0:
            tail = head[place + 1 :]
            rest = tail[sum(1 for _ in takewhile(_is_mark, tail)) :].lstrip(CLOSERS + " \t")
            return not rest or rest[0] in _AFTER_QUESTION or "\n" in tail[: len(tail) - len(rest)]
    return False


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
