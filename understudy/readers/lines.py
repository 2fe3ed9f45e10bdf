"""Text from printed lines: without running heads, page numbers and hyphens at line ends."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from understudy.readers.spacing import join

EDGE_LINES = 3  # how far from the edge of a page a head or foot may be
FULL_LINE, SHORT_LINE = 0.8, 0.6  # of a usual line

_NUMBER = re.compile(r"\d+")
_BARE_NUMBER = re.compile(
    r"(?:page|seite|p\.)?[\s\[(–—-]*(\d{1,4})[\s\])–—-]*(?:(?:of|von|/)\s*\d{1,4})?", re.IGNORECASE
)
_BARE_ROMAN = re.compile(r"[–—-]?\s*(?=[ivxl])(?:xl|l?x{0,3})(?:ix|iv|v?i{0,3})\s*[–—-]?")
_SENTENCE_END = re.compile(r"[.!?:][\"'”’)\]]*$")
_HYPHEN_END = re.compile(r"(\w+)[-\xad‐]$")
_COMPOUNDS = frozenset("well self half twenty thirty forty fifty sixty seventy eighty ninety".split())
_ENDINGS = frozenset("ness ish ishly ishness less fare come".split())
_WORD = re.compile(r"(?<!\w-)\b\w+(?:-\w+)*\b(?!-$)")


def without_running_lines(pages: Sequence[Sequence[str]]) -> list[str]:
    """The lines of all pages, without page numbers and the heads and feet that most pages share.

    Left and right pages often carry different heads, so what most odd or most even pages share
    counts too. A number counts as a page number when it increases with the pages.
    """
    pages = [[line for line in page if line] for page in pages]
    running = _running(pages, range(len(pages)), 2)
    for first in (0, 1):
        running |= _running(pages, range(first, len(pages), 2), 3)
    numbers = Counter(
        offset for at, page in enumerate(pages) for offset in {_offset(page[i], at) for i in _edges(page)}
    )
    result = []
    for at, page in enumerate(pages):
        edges = _edges(page)
        for i, line in enumerate(page):
            if i not in edges:
                result.append(line)
                continue
            offset = _offset(line, at)
            numbered = offset is not None and (offset == 1 or numbers[offset] > 1)
            if not (numbered or _BARE_ROMAN.fullmatch(line) or running.intersection(_keys(line, at))):
                result.append(line)
    return result


def joined(lines: Sequence[str]) -> list[str]:
    """Paragraphs: a line that ends a sentence well before the margin ends one, and so does a heading."""
    if not lines:
        return []
    widths = sorted(len(line) for line in lines)
    usual = widths[len(widths) * 3 // 4]
    vocabulary = {word.lower() for line in lines for word in _WORD.findall(line)}
    paragraphs: list[str] = []
    open_paragraph = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if open_paragraph:
            paragraphs[-1] = _glued(paragraphs[-1], line, vocabulary)
        else:
            paragraphs.append(line)
        ends = _SENTENCE_END.search(line) and len(line) < FULL_LINE * usual
        heading = len(line) < SHORT_LINE * usual and following[:1].isupper() and not line.endswith((",", ";", "-"))
        open_paragraph = not (ends or heading)
    return paragraphs


def glue(lines: Sequence[str]) -> str:
    """The lines of one paragraph as one line."""
    vocabulary = {word.lower() for line in lines for word in _WORD.findall(line)}
    text = lines[0]
    for line in lines[1:]:
        text = _glued(text, line, vocabulary)
    return text


def _glued(text: str, line: str, vocabulary: set[str]) -> str:
    """`text` followed by `line`; a hyphen between them stays only where it is part of the word."""
    broken = _HYPHEN_END.search(text)
    rest = re.match(r"\w+", line)
    if not broken or not rest:
        return join([text, line])
    before, after = broken.group(1).lower(), rest.group().lower()
    if text[-1] == "\xad" or before + after in vocabulary:
        keeps = False
    elif not line[0].islower() or not before[-1].isalpha() or f"{before}-{after}" in vocabulary:
        keeps = True
    elif before in _COMPOUNDS and after not in _ENDINGS:
        keeps = True  # 'well-known', 'self-made', 'twenty-one'
    else:
        keeps = before in vocabulary and after in vocabulary  # 'forty-' 'zinc' are words, 'chemi-' 'cal' are not
    return (text if keeps else text[:-1]) + line


def _running(pages: Sequence[Sequence[str]], among: Sequence[int], at_least: int) -> set[str]:
    """The lines at an edge of more than half of the pages `among`."""
    counts = Counter(key for at in among for key in {k for i in _edges(pages[at]) for k in _keys(pages[at][i], at)})
    return {key for key, times in counts.items() if times >= at_least and times * 2 > len(among)}


def _edges(page: Sequence[str]) -> set[int]:
    """Where the first and last lines of a page are."""
    return {*range(min(EDGE_LINES, len(page))), *range(max(0, len(page) - EDGE_LINES), len(page))}


def _keys(line: str, at: int) -> Iterator[str]:
    """The line as it is, and with its first or last number counted from its page."""
    yield line
    numbers = list(_NUMBER.finditer(line))
    for match in {n.span(): n for n in numbers[:1] + numbers[-1:] if len(n.group()) < 5}.values():
        yield f"{line[: match.start()]}\0{int(match.group()) - at}{line[match.end() :]}"


def _offset(line: str, at: int) -> int | None:
    """A bare page number minus the page's index in the file."""
    match = _BARE_NUMBER.fullmatch(line)
    return int(match.group(1)) - at if match else None
