"""Refuses answers that are not well-formed markdown: the student learns the form from these rows."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from understudy import markdown
from understudy.records import Pair


class FormattingGate:
    """Keeps a pair when its answer has paragraphs, balanced marks and a proper end."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.options = options

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each answer is judged by itself."""

    def judge(self, pair: Pair) -> str | None:
        """The first thing wrong with the markdown."""
        return next(iter(markdown.problems(pair.answer)), None)
