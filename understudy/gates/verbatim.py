"""Refuses answers that copy the talk: the student must learn to answer, not to recite."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.grams import covered_share, grams
from understudy.gates.reading import member, reading
from understudy.records import Pair


class VerbatimGate:
    """Keeps a pair when not too much of its answer is in the talk word for word."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        max_share: float = Field(
            default=0.6, ge=0, le=1, description="share of the words that may be in runs of 8 words of the talk"
        )

    VERSION = 1
    needs_talks = True
    text_of: Callable[[str], str] = staticmethod(lambda document_id: "")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._talk: tuple[str, Any] = ("", None)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each answer is judged against its own talk."""
        self._talk = ("", None)

    def judge(self, pair: Pair) -> str | None:
        """The share that is copied."""
        import numpy as np

        if self._talk[0] != pair.document_id:
            self._talk = pair.document_id, np.sort(grams(reading(self.text_of(pair.document_id), pair).words))
        share = covered_share(member(grams(reading(pair.answer, pair).words), self._talk[1]))
        return f"{share:.0%} is word for word the talk" if share > self.options.max_share else None
