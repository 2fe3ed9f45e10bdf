"""Citations in an answer: which titles it names, and whether they are among those it was given."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

CitationForm = Literal["[Title]", "(Title, heading)"]

_BRACKETED = re.compile(r"\[([^\[\]\n]{1,200})\]")
_IN_BRACKETS = re.compile(r"\(([^()\n]{1,200})\)")
_QUOTES = str.maketrans("“”„‟«»‘’‚", '""""""\'\'\'')


class Cited(NamedTuple):
    """What an answer cites."""

    known: list[str]
    """Titles of the given ones that it cites, in their order."""
    unknown: list[str]
    """What else stands where a citation stands."""


def cited(answer: str, titles: Iterable[str], form: CitationForm = "[Title]", others: Iterable[str] = ()) -> Cited:
    """What `answer` cites of `titles`; `others` are further titles there are, of which any is a wrong one.

    In round brackets only what begins with a title is a citation, since prose has brackets too.
    """
    given = {_plain(title): title for title in titles}
    rest, known = _plain(answer), list[str]()
    opening, closing = ("[", "]") if form == "[Title]" else ("(", ")")
    # The longest first: a title may contain another, and brackets of its own.
    for plain in sorted(given, key=len, reverse=True):
        ends = closing if form == "[Title]" else rf"(?:\s*,[^{re.escape(closing)}\n]*)?{re.escape(closing)}"
        pattern = re.escape(opening + plain) + (re.escape(ends) if form == "[Title]" else ends)
        rest, count = re.subn(pattern, " ", rest, flags=re.IGNORECASE)
        known += [given[plain]] if count else []
    places = _BRACKETED if form == "[Title]" else _IN_BRACKETS
    unknown = [" ".join(text.split()) for text in places.findall(rest)]
    if form != "[Title]":
        wrong = {_plain(title).lower() for title in others} - {plain.lower() for plain in given}
        unknown = [text for text in unknown if any(text.lower().startswith(title) for title in wrong)]
    order = list(given.values())
    return Cited(sorted(known, key=order.index), [text for text in unknown if re.search(r"[^\W\d_]", text)])


def citation(title: str, heading: Iterable[str] = (), form: CitationForm = "[Title]") -> str:
    """How `title` is cited."""
    if form == "[Title]":
        return f"[{title}]"
    last = list(heading)[-1:]
    return f"({', '.join([title, *last])})"


def without(answer: str, titles: Iterable[str]) -> str:
    """The answer without the titles it names, whose words are no content."""
    for title in titles:
        answer = re.sub(re.escape(title), " ", answer, flags=re.IGNORECASE)
    return answer


def _plain(text: str) -> str:
    """`text` with straight quotes and single spaces: copying changes them without meaning to."""
    return " ".join(text.translate(_QUOTES).split())
