"""Refuses pairs that speak of the transcript, the video or the speaker instead of the subject."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair

DEFAULT_PHRASES = [
    "the transcript",
    "this transcript",
    "the video",
    "this video",
    "the speaker",
    "the lecturer",
    "in this talk",
    "in the talk",
    "the talk says",
    "the text says",
    "the passage",
    "the author",
    "subscribe",
    "as an ai",
]


class MentionsGate:
    """Keeps a pair when neither side names where the words come from."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        phrases: list[str] = Field(default=DEFAULT_PHRASES, min_length=1, description="whole words, case ignored")

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, options.phrases)) + r")\b", re.IGNORECASE)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged by itself."""

    def judge(self, pair: Pair) -> str | None:
        """The phrase found, and on which side."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            found = self.pattern.search(text)
            if found:
                return f"the {side} says {found.group()!r}"
        return None
