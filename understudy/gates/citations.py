"""Refuses answers from given texts that cite no text or a wrong one, and refusals that are none."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text.citations import CitationForm, cited
from understudy.text.declining import begins


class CitationsGate:
    """Keeps an answer that cites exactly what it rests on, and a refusal that says so and no more."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        citation: CitationForm = Field(default="[Title]", description="how an answer names what it rests on")
        refusal: str = Field(default="I cannot answer this from the provided context", description="how one begins")

    VERSION = 1
    FOR_REFUSALS = True

    def __init__(self, options: Options) -> None:
        self.options = options
        self._titles: set[str] = set()

    def study(self, pairs: Sequence[Pair]) -> None:
        """Learn which titles there are."""
        self._titles = {pair.title for pair in pairs} | {source.title for pair in pairs for source in pair.sources}

    def judge(self, pair: Pair) -> str | None:
        """What is wrong with the citations, or with the refusal; nothing where no text was given."""
        if pair.kind == "plain":
            return None
        titles = [source.title for source in pair.sources] or [pair.title]
        names = cited(pair.answer, titles, self.options.citation, self._titles)
        if pair.kind == "refusal":
            clean = begins(pair.answer, self.options.refusal) and not (names.known or names.unknown)
            return None if clean else "a refusal that does not begin as one, or cites a text"
        if begins(pair.answer, self.options.refusal):
            return "declines where the text answers"
        if names.unknown:
            return f"cites {names.unknown[0]!r}, which it was not given"
        missing = [title for title in titles if title not in names.known]
        return f"does not cite {missing[0]!r}" if missing else None
