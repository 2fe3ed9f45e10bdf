"""A document from blocks of text: its title, and paragraphs of about 110 words."""

import re
from collections.abc import Iterator, Mapping
from datetime import date

from understudy.errors import Refused
from understudy.records import Document, Entry, Paragraph
from understudy.text.words import sentences, word_count

PARAGRAPH_WORDS = 110
TITLE_CHARACTERS = 90

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_DAY = re.compile(r"\s*(\d{4})-(\d{2})-(\d{2})")


def document(
    blocks: list[str],
    entry: Entry,
    how: str,
    properties: Mapping[str, str | None],
    guess_title: bool = False,
) -> Document:
    """The document made of `blocks`; a first block that only repeats its title is not text.

    `properties` may have 'title', 'language' and 'date', as the file gives them. `guess_title`: in this format a title
    may be in the text without being marked as one.
    """
    blocks = [block.strip() for block in blocks if block.strip()]
    title = " ".join((properties.get("title") or "").split())
    if title and blocks and same_words(title, blocks[0]):
        del blocks[0]
    title = title or (heading(blocks) if guess_title else None) or entry.title
    paragraphs = [Paragraph(text=piece) for piece in pieces(blocks)]
    if not paragraphs:
        raise Refused("the file has no text besides its title")
    return Document(
        document_id=entry.document_id,
        title=title,
        locator=entry.locator,
        how=how,
        language=language_code(properties.get("language")),
        published=day(properties.get("date")),
        paragraphs=paragraphs,
    )


def heading(blocks: list[str]) -> str | None:
    """The title, removed from the first block: a markdown heading, or a short first line without a full stop."""
    if not blocks:
        return None
    first, *rest = blocks[0].split("\n")
    line = first.lstrip("# ").strip()
    if not first.startswith("#") and (
        len(line) > TITLE_CHARACTERS or line.endswith((".", "!", "?", ",")) or (not rest and len(blocks) < 2)
    ):
        return None
    blocks[0:1] = ["\n".join(rest)] if rest else []
    return line


def pieces(blocks: list[str]) -> Iterator[str]:
    """Paragraphs of about 110 words: short blocks join what follows, long ones are cut between sentences."""
    gathered: list[str] = []
    for block in blocks:
        plain = " ".join(re.sub(r"^#+\s+", "", block).replace("--", " -- ").split())
        for sentence in sentences(plain):
            gathered.append(sentence)
            if sum(map(word_count, gathered)) >= PARAGRAPH_WORDS:
                yield " ".join(gathered)
                gathered = []
        if sum(map(word_count, gathered)) >= PARAGRAPH_WORDS // 3:
            yield " ".join(gathered)
            gathered = []
    if gathered:
        yield " ".join(gathered)


def same_words(one: str, other: str) -> bool:
    """True when both are the same apart from case, spaces and punctuation."""
    return bool(_bare(one)) and _bare(one) == _bare(other)


def language_code(code: str | None) -> str | None:
    """A language as 'en' or 'en-GB'; None when `code` is not a language."""
    code = (code or "").strip().replace("_", "-")
    return code if _LANGUAGE.fullmatch(code) and code.lower() != "und" else None


def day(text: str | None) -> str | None:
    """YYYY-MM-DD from a date with or without a time; None for anything less exact."""
    match = _DAY.match(text or "")
    if not match:
        return None
    try:
        parsed = date(*map(int, match.groups()))
    except ValueError:
        return None
    return parsed.isoformat() if parsed.year > 1000 else None  # Calibre writes year 101 for "not known"


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
