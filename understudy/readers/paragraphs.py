"""A document from blocks of text: its title, and paragraphs of about 110 words."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from understudy.errors import Refused
from understudy.readers.cues import Cue
from understudy.readers.lines import glue
from understudy.readers.spacing import join
from understudy.readers.speakers import transcript
from understudy.records import Document, Entry, Paragraph
from understudy.text.words import sentences, word_count

PARAGRAPH_WORDS, PARAGRAPH_WORDS_AT_MOST, SENTENCE_WORDS_AT_MOST = 110, 200, 160
TITLE_CHARACTERS = 90
LONGER, SHORT_LINE = 1.6, 12

_DASHED = re.compile(r"\S*--\S*")
_NO_PROSE = re.compile(r"://|`|<!|^www\.|/\S*--|--\S*/")
_TYPEWRITER_DASH = re.compile(r"(?<=[\w,;.!?\"'”’)])--(?=[\w\"'“‘(])")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_DAY = re.compile(r"\s*(\d{4})-(\d{2})-(\d{2})")


def document(
    blocks: Sequence[str],
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
    if guess_title and (spoken := transcript([line for block in blocks for line in block.split("\n")])):
        return _transcribed(*spoken, entry, how, properties)
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


def _transcribed(
    title: str | None,
    cues: Sequence[Cue],
    has_times: bool,
    entry: Entry,
    how: str,
    properties: Mapping[str, str | None],
) -> Document:
    """A transcript of a meeting or a video: its names and times are no words."""
    from understudy.readers import captions  # here, since most texts are no transcripts

    talk = captions.clean(cues)
    if not talk.paragraphs:
        raise Refused("the file has no text besides its times")
    untimed = [p.model_copy(update={"start_seconds": None, "pause_seconds": None}) for p in talk.paragraphs]
    return Document(
        document_id=entry.document_id,
        title=" ".join((properties.get("title") or title or entry.title).split()),
        locator=entry.locator,
        how=f"{how}, a transcript",
        language=language_code(properties.get("language")),
        published=day(properties.get("date")),
        duration_seconds=round(cues[-1].end, 1) if has_times else None,
        noise_tags=talk.noise_tags,
        speaker_changes=talk.speaker_changes,
        paragraphs=talk.paragraphs if has_times else untimed,
    )


def heading(blocks: list[str]) -> str | None:
    """The title, removed from the first block: a markdown heading, or a short first line without a full stop."""
    if not blocks:
        return None
    first, *rest = blocks[0].split("\n")
    line = first.lstrip("# ").strip()
    if not first.startswith("#") and (
        len(line) > TITLE_CHARACTERS
        or line.endswith((".", ",", "।", *"!?。！？؟"))
        or (not rest and len(blocks) < 2)
        or line[:1].islower()
        or _is_one_of(line, rest)
    ):
        return None
    blocks[0:1] = ["\n".join(rest)] if rest else []
    return line


def _is_one_of(line: str, rest: Sequence[str]) -> bool:
    """Whether the lines below are as short as it, as in a transcript: then it is no title."""
    lengths = sorted(map(len, rest))
    return len(rest) >= 3 and lengths[len(rest) // 2] < LONGER * max(len(line), SHORT_LINE)


def pieces(blocks: Sequence[str]) -> Iterator[str]:
    """Paragraphs of about 110 words: short blocks join what follows, long ones are cut between sentences."""
    gathered: list[str] = []
    size = 0
    for block in blocks:
        # The dash of a typewriter is one between two words; --force is none.
        plain = _DASHED.sub(_dash, one_paragraph(re.sub(r"^#+\s+", "", block)))
        for sentence in _cut(sentences(plain)):
            count = word_count(sentence)
            if gathered and size + count > PARAGRAPH_WORDS_AT_MOST:
                yield join(gathered)
                gathered, size = [], 0
            gathered.append(sentence)
            size += count
            if size >= PARAGRAPH_WORDS:
                yield join(gathered)
                gathered, size = [], 0
        if size >= PARAGRAPH_WORDS // 3:
            yield join(gathered)
            gathered, size = [], 0
    if gathered:
        yield join(gathered)


def _dash(match: re.Match[str]) -> str:
    token = match.group()
    return token if _NO_PROSE.search(token) else _TYPEWRITER_DASH.sub(" -- ", token)


def one_paragraph(block: str) -> str:
    """The lines of a block as one, without hyphens at line ends and without spaces between Chinese lines."""
    lines = [" ".join(line.split()) for line in block.split("\n") if line.strip()]
    if len(lines) < 2:
        return " ".join(lines)
    return glue(lines)


def _cut(whole: Sequence[str]) -> Iterator[str]:
    """The sentences; what has no end for very long is cut by its length."""
    for sentence in whole:
        count = word_count(sentence)
        if count <= SENTENCE_WORDS_AT_MOST:
            yield sentence
            continue
        parts = math.ceil(count / PARAGRAPH_WORDS)
        words = sentence.split() if sentence.count(" ") * 20 > len(sentence) else list(sentence)
        size = math.ceil(len(words) / parts)
        joint = " " if len(words) < len(sentence) else ""
        yield from (joint.join(words[at : at + size]) for at in range(0, len(words), size))


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
