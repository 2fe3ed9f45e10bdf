"""Refuses answers too short to teach anything, or too long to be one answer."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair


class LengthGate:
    """Keeps a pair when its answer has enough words and not too many."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        min_words: int = Field(default=25, ge=1)
        max_words: int = Field(default=600, ge=1)

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.options = options

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each answer is judged by itself."""

    def judge(self, pair: Pair) -> str | None:
        """Too short or too long, with the number of words."""
        count = len(pair.answer.split())
        if count < self.options.min_words:
            return f"{count} words, fewer than {self.options.min_words}"
        if count > self.options.max_words:
            return f"{count} words, more than {self.options.max_words}"
        return None
