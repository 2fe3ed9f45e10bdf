"""
Refuses what teaches nothing: greetings, advertising, sign-offs of a channel or an assistant, and template questions.

A template question differs in a word or two from many other questions of the channel, as in "What should
I know about ...?": it names a word of the talk and asks nothing about it. Templates are found by counting, so that no
list of them is needed in any language. A good question may resemble a few others ("What are the signs of ...?").
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.chatting import chat_phrase
from understudy.gates.grams import covered_share, grams
from understudy.gates.guarded import folded, listed
from understudy.gates.reading import reading
from understudy.records import Pair
from understudy.text.words import words

PHRASES = (
    "like and subscribe", "subscribe to my", "subscribe to our", "subscribe to the channel",
    "subscribe to this channel",
    "hit subscribe", "subscribe button", "forget to subscribe", "notification bell", "smash that like",
    "smash the like",
    "hit the like", "link in the description", "links in the description", "in the description below",
    "link down below",
    "today's sponsor", "our sponsor",
    "support me on patreon", "on my patreon", "thanks for watching", "thank you for watching", "see you in the next",
    "welcome back to the channel", "welcome to my channel", "kanal abonnieren", "abonniert den kanal",
    "link in der beschreibung",
    "danke fürs zuschauen", "bis zum nächsten video",
)  # fmt: skip
SLOT_WORDS, TEMPLATE_WORDS = 3, 4
"""A template has a slot of at most three words and at least four words around it; 'What is ...?' is none."""
LEAST_OF_A_TEMPLATE = 4
_BINS = 26  # bits of a gram that are its bin: 64 MB, and collisions are too rare to affect a share


class BoilerplateGate:
    """Keeps a pair when little of its answer is shared with other talks, and none of it is a plug."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_talks: int = Field(default=5, ge=2, le=200, description="number of talks that share a run of 8 words")
        max_share: float = Field(
            default=0.2, ge=0, le=1, description="share of an answer's words that may be in such runs"
        )
        phrases: list[str] = Field(
            default=list(PHRASES), description="whole words, case ignored; any one refuses the pair"
        )
        max_template: float = Field(
            default=0.03,
            ge=0,
            le=1,
            description="share of the channel's questions, 4 at least, that may differ in a word or two only",
        )

    VERSION = 4
    needs_talks = True
    text_of: Callable[[str], str] = staticmethod(lambda document_id: "")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._phrase = listed(options.phrases)
        self._talks: Any = None
        self._templates: Counter[int] = Counter()
        self._most = 0.0

    def study(self, pairs: Sequence[Pair]) -> None:
        """Count in how many talks, spoken or answered, each run of 8 words occurs, and each template."""
        import numpy as np

        questions = {" ".join(words(pair.question)): pair.question for pair in pairs}.values()
        self._templates = Counter(template for question in questions for template in set(_templates(question)))
        self._most = max(LEAST_OF_A_TEMPLATE, self.options.max_template * len(questions))

        self._talks = np.zeros(1 << _BINS, dtype=np.uint8)
        for document_id, group in groupby(sorted(pairs, key=lambda p: p.document_id), key=lambda p: p.document_id):
            own = list(group)
            texts = [(self.text_of(document_id), own[0]), *((pair.answer, pair) for pair in own)]
            bins = _bins(np.concatenate([grams(reading(*text).words) for text in texts]))
            self._talks[bins] = np.minimum(self._talks[bins], 254) + 1  # a bin that occurs twice counts once

    def judge(self, pair: Pair) -> str | None:
        """The plug, or the share that is in other talks."""
        low = folded(pair.answer)
        if self._phrase and (plug := self._phrase.search(pair.answer, low)):
            return f"advertising or housekeeping: {plug.group()!r}"
        if chat := chat_phrase(pair.answer, low, pair.question):
            return f"speaks as an assistant or an advertisement: {' '.join(chat.split())!r}"
        if (
            alike := max((self._templates[template] for template in _templates(pair.question)), default=0)
        ) > self._most:
            return f"a template question: {alike} of the channel differ by a word or two only"
        if self._talks is None:
            return None
        share = covered_share(self._talks[_bins(grams(reading(pair.answer, pair).words))] >= self.options.min_talks)
        if share <= self.options.max_share:
            return None
        return f"{share:.0%} is word for word in {self.options.min_talks} talks or more"


def _templates(question: str) -> Iterator[int]:
    """Digests of the question with each run of up to three words left out."""
    tokens = words(question)
    for size in range(1, SLOT_WORDS + 1):
        for at in range(len(tokens) - size + 1):
            if len(tokens) - size >= TEMPLATE_WORDS:
                yield hash((*tokens[:at], None, *tokens[at + size :]))


def _bins(digests: Any) -> Any:
    return (digests >> (64 - _BINS)).astype("int64")
