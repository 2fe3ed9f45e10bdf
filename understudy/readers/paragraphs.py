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
from understudy.records import Document, Entry, Heading, Paragraph
from understudy.text.words import sentences, word_count

PARAGRAPH_WORDS, PARAGRAPH_WORDS_AT_MOST, SENTENCE_WORDS_AT_MOST = 110, 200, 160
TITLE_CHARACTERS = 90
LONGER, SHORT_LINE = 1.6, 12

_DASHED = re.compile(r"\S*--\S*")
_NO_PROSE = re.compile(r"://|`|<!|^www\.|/\S*--|--\S*/")
_TYPEWRITER_DASH = re.compile(r"(?<=[\w,;.!?\"'”’)])--(?=[\w\"'“‘(])")
_MARKED = re.compile(r"^#+\s+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_DAY = re.compile(r"\s*(\d{4})-(\d{2})-(\d{2})")


class Title(str):
    """A block that a format marks as a heading; `level` 1 is the outermost."""

    level: int

    def __new__(cls, text: str, level: int) -> "Title":
        title = super().__new__(cls, text)
        title.level = level
        return title

    def strip(self, chars: str | None = None, /) -> str:
        """The same heading without outer white space."""
        return Title(super().strip(chars), self.level)


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
    texts, headings = gathered(blocks)
    paragraphs = [Paragraph(text=text) for text in texts]
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
        headings=headings,
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


def gathered(blocks: Sequence[str]) -> tuple[list[str], list[Heading]]:
    """Paragraphs of about 110 words, and where headings are in them.

    Short blocks join what follows, long ones are cut between sentences.
    """
    text = _Gathered()
    for block in blocks:
        level, title = _heading_of(block)
        title = _DASHED.sub(_dash, title)
        # The dash of a typewriter is one between two words; --force is none.
        plain = _DASHED.sub(_dash, one_paragraph(_MARKED.sub("", block)))
        for at, sentence in enumerate(_cut(sentences(plain))):
            text.add(sentence, (level, title) if level and at == 0 else None)
        if text.size >= PARAGRAPH_WORDS // 3:
            text.end()
    text.end()
    return text.paragraphs, text.headings


class _Gathered:
    """Paragraphs as they fill with sentences."""

    def __init__(self) -> None:
        self.paragraphs: list[str] = []
        self.headings: list[Heading] = []
        self.size = 0
        self._sentences: list[str] = []

    def add(self, sentence: str, heading: tuple[int, str] | None = None) -> None:
        """One more sentence, which may begin with a heading: (level, text)."""
        count = word_count(sentence)
        if self._sentences and self.size + count > PARAGRAPH_WORDS_AT_MOST:
            self.end()
        if heading:
            start = len(join([*self._sentences, sentence])) - len(sentence)
            self.headings.append(
                Heading(level=heading[0], text=heading[1], paragraph=len(self.paragraphs), start=start)
            )
        self._sentences.append(sentence)
        self.size += count
        if self.size >= PARAGRAPH_WORDS:
            self.end()

    def end(self) -> None:
        """What comes next is another paragraph."""
        if self._sentences:
            self.paragraphs.append(join(self._sentences))
            self._sentences, self.size = [], 0


def _heading_of(block: str) -> tuple[int, str]:
    """(level, text) of the heading that a block begins with; level 0 for none."""
    if isinstance(block, Title):
        return block.level, one_paragraph(block)
    marked = _MARKED.match(block)
    first = block[marked.end() :].split("\n", maxsplit=1)[0].strip(" #\t") if marked else ""
    return (marked.group().count("#"), " ".join(first.split())) if marked and first else (0, "")


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
