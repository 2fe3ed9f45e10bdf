"""Refuses answers that are not well-formed markdown: the student learns the form from these rows."""

import re
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text import markdown
from understudy.text.words import word_count

_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
_WRAPPED = re.compile(
    r"\A\s*(?:(?:```|~~~)(?:markdown|md)\b|(`{3,}|~{3,})(?:text|txt|plain|plaintext|json"
    r"|html)?[ \t]*\n(?:(?!\1).)*(?:\n[ \t]*\1[`~]*\s*\Z|\Z))",
    re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(r"(`+)(?=[^`])[^`\n]*?\1")
_BOLD = re.compile(r"\*\*([^\n*]+)\*\*")
_GLUED_HEADER = re.compile(r"^ {0,3}#{1,6}(?=[^\s#\d!])\w.*$", re.MULTILINE)
_TAG = re.compile(r"</?(?:p|br|div|span|ul|ol|li|b|i|strong|em|h[1-6])\s*/?>", re.IGNORECASE)
_OPEN_LINK = re.compile(r"\]\((?:https?:)?[^)\s]*$", re.MULTILINE)


class FormattingGate:
    """Keeps a pair when its answer has paragraphs, balanced marks and a proper end."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        max_paragraph_words: int = Field(
            default=150, ge=20, description="more words in one paragraph are a wall of text"
        )
        max_bold_share: float = Field(default=0.5, gt=0, le=1, description="share of the words that may be in bold")
        form: markdown.Form = Field(
            default="markdown",
            exclude_if=lambda form: form == "markdown",
            description="of a good answer; prose: nothing of markdown in it",
        )

    VERSION = 4

    def __init__(self, options: Options) -> None:
        self.options = options

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each answer is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """The first thing wrong with the markdown."""
        problems = markdown.problems(pair.answer, self.options.form)
        return problems[0] if problems else next(self._problems(pair.answer), None)

    def _problems(self, answer: str) -> Iterator[str]:
        # The shape is computed only where it can matter: it costs as much as all other checks together.
        if max(map(word_count, answer.split("\n\n"))) > self.options.max_paragraph_words:
            longest = markdown.profile(answer).longest_paragraph_words
            if longest > self.options.max_paragraph_words:
                yield f"a wall of text: {longest} words in one paragraph"
        if "#" in answer and "|" not in answer and "```" not in answer:
            shape = markdown.profile(answer)
            if shape.headers and not shape.paragraphs and not shape.list_items:
                yield "headings with nothing under them"
        if _WRAPPED.match(answer):
            yield "the whole answer is in a code fence"
        coded = "`" in answer or "~~~" in answer
        prose = _CODE.sub(" ", _FENCED.sub("", answer)) if coded else answer
        if "`" in prose:
            yield "a ` without its partner"
        bold = sum(map(word_count, _BOLD.findall(prose)))
        length = markdown.profile(answer).words if coded else word_count(answer)
        if length and bold > self.options.max_bold_share * length:
            yield f"{bold} of {length} words are in bold"
        if "#" in prose and (header := _GLUED_HEADER.search(prose)):
            yield f"a heading without a space after its #: {header.group()[:24]!r}"
        if "<" in prose and (tag := _TAG.search(prose)):
            yield f"HTML in the markdown: {tag.group()!r}"
        if "](" in prose and _OPEN_LINK.search(prose):
            yield "a link that is not closed"
