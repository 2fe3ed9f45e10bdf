"""
Manuals cut into sections: by heading, then by size at ends of paragraphs and sentences; each word is in one of them.

A cut stays while its text does: where a manual changes, the sections whose text is still there keep their name and what
is shown around them, so that only what changed is read, and paid for, again.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Document, ManualSection, SectionPlace, sha256_of
from understudy.text.words import sentences, slug

MOST_NAME = 60
"""Characters of a manual's id that the ids of its sections begin with."""


class Reading(BaseModel):
    """How a manual becomes sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    by: Literal["heading", "chars", "whole"] = Field(
        default="heading", description="where a section ends at the latest; chars: only by size; whole: one section"
    )
    chars: int = Field(default=8000, ge=200, description="of a section, at most; one longer word stays whole")
    overlap: int = Field(
        default=400, ge=0, description="characters of the neighbours that the teacher is shown as context, at most"
    )
    min_words: int = Field(default=15, ge=1, description="a shorter section is refused")

    @property
    def digest(self) -> str:
        """What of it decides where a manual is cut."""
        return sha256_of(self.model_dump_json(exclude={"min_words"}).encode())[:16]


class Stretch(NamedTuple):
    """The text under one heading."""

    heading: list[str]
    """All headings over it, the outermost first; [] before the first one."""
    text: str
    first_paragraph: int
    last_paragraph: int


class _Piece(NamedTuple):
    """A section before it has neighbours."""

    heading: list[str]
    text: str
    known: ManualSection | None
    """The section of the earlier cut that has this text."""


def stretches(document: Document) -> list[Stretch]:
    """The document from heading to heading, headings left out; those without text are left out too."""
    pieces: list[tuple[list[str], int, int, int]] = [([], 0, 0, 0)]
    path: list[tuple[int, str]] = []
    for heading in document.headings:
        path = [*((level, text) for level, text in path if level < heading.level), (heading.level, heading.text)]
        pieces.append(([text for _, text in path], heading.paragraph, heading.start, len(heading.text)))
    ends = [(paragraph, start) for _, paragraph, start, _ in pieces[1:]] + [(len(document.paragraphs), 0)]
    found = (
        _stretch(document, heading, (paragraph, start), skipped, end)
        for (heading, paragraph, start, skipped), end in zip(pieces, ends, strict=True)
    )
    return [stretch for stretch in found if stretch]


def cut(
    document: Document, revision: str, reading: Reading, before: Sequence[ManualSection] = (), source: str = ""
) -> list[ManualSection]:
    """The sections of a manual in order; `before` are those of its last cut by the same settings."""
    pieces = list(_pieces(document, reading, before))
    names, cuts = _names(document.document_id, pieces, before), list[ManualSection]()
    headings = Counter(tuple(piece.heading) for piece in pieces)
    for at, piece in enumerate(pieces):
        place = SectionPlace(
            manual_id=document.document_id,
            manual=" ".join(document.title.split()),
            heading=piece.heading,
            before=_end(pieces[at - 1].text, reading.overlap) if at else "",
            after=_beginning(pieces[at + 1].text, reading.overlap) if at + 1 < len(pieces) else "",
        )
        if piece.known:  # what was shown around it stays too: a changed neighbour is no reason to ask again
            place = place.model_copy(update={"before": piece.known.place.before, "after": piece.known.place.after})
        cuts.append(
            ManualSection(
                section_id=names[at],
                source=source,
                revision=revision,
                reading=reading.digest,
                title=_title(place, names[at], headings[tuple(piece.heading)] == 1),
                place=place,
                how=document.how,
                language=document.language,
                published=document.published,
                text=piece.text,
            )
        )
    return cuts


def _pieces(document: Document, reading: Reading, before: Sequence[ManualSection]) -> Iterator[_Piece]:
    """The manual in sections: those of the earlier cut where they still are, and what is between them cut anew."""
    known: dict[tuple[str, ...], list[ManualSection]] = {}
    for section in before:
        known.setdefault(tuple(section.place.heading), []).append(section)
    by_heading = reading.by == "heading"
    texts = [(one.heading, one.text) for one in stretches(document)] if by_heading else [([], document.text)]
    most = reading.chars if reading.by != "whole" else len(document.text)
    for heading, text in texts:
        at, waiting = 0, known.get(tuple(heading), [])
        for section in list(waiting):
            start = text.find(section.text, at) if len(section.text) <= most else -1
            if start < 0:
                continue
            waiting.remove(section)  # of two equal headings the first takes what it finds, the second the rest
            yield from (_Piece(heading, new, None) for new in _sized(text[at:start], most))
            yield _Piece(heading, section.text, section)
            at = start + len(section.text)
        yield from (_Piece(heading, new, None) for new in _sized(text[at:], most))


def _sized(text: str, most: int) -> Iterator[str]:
    """`text` in parts of about equal length, of at most `most` characters, never inside a word."""
    text = text.strip()
    if not text:
        return
    count = -(-len(text) // most)
    aim = len(text) / count
    part, length = list[tuple[str, str]](), 0
    for joint, atom in _atoms(text, most):
        # Over the aim by less than half of the atom is nearer to it than ending before.
        if part and (length + len(joint) + len(atom) > most or length + len(atom) / 2 > aim):
            yield _joined(part)
            part, length = [], 0
        part.append((joint, atom))
        length += len(joint) + len(atom)
    yield _joined(part)


def _atoms(text: str, most: int) -> Iterator[tuple[str, str]]:
    """(what joins it to the one before, atom): paragraphs; of a longer one its lines, sentences or words."""
    for paragraph in text.split("\n\n"):
        joint = "\n\n"
        for piece, before in _fine(paragraph.strip(), most):
            if piece:
                yield (joint, piece)
            joint = before


def _fine(paragraph: str, most: int) -> Iterator[tuple[str, str]]:
    """(atom, what joins the next one to it)."""
    if len(paragraph) <= most // 2:
        yield paragraph, "\n\n"
    elif "\n" in paragraph:
        for line in paragraph.split("\n"):
            yield from ((piece, "\n" if len(line) <= most // 2 else joint) for piece, joint in _fine(line, most))
    elif len(whole := sentences(paragraph)) > 1:
        for sentence in whole:
            yield from ((piece, " ") for piece, _ in _fine(sentence, most))
    elif len(paragraph) <= most:
        yield paragraph, " "
    else:
        yield from ((" ".join(paragraph[at : at + most].split()), "") for at in range(0, len(paragraph), most))


def _joined(part: Sequence[tuple[str, str]]) -> str:
    return "".join((joint if at else "") + atom for at, (joint, atom) in enumerate(part))


def _end(text: str, most: int) -> str:
    """The last whole words of `text`, of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[-most:].partition(" ")[2] if most else ""


def _beginning(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most].rpartition(" ")[0] if most else ""


def _names(manual_id: str, pieces: Sequence[_Piece], before: Sequence[ManualSection]) -> list[str]:
    """The ids of the sections: that of the same text before, or of what was under the same heading, else a new one."""
    kept = {piece.known.section_id for piece in pieces if piece.known}
    free: dict[tuple[str, ...], list[str]] = {}
    for section in before:
        if section.section_id not in kept:
            free.setdefault(tuple(section.place.heading), []).append(section.section_id)
    stem = manual_id if len(manual_id) <= MOST_NAME else f"{manual_id[:MOST_NAME]}-{sha256_of(manual_id.encode())[:6]}"
    number = max((_number(section.section_id) for section in before), default=0)
    names = []
    for piece in pieces:
        if piece.known:
            names.append(piece.known.section_id)
        elif left := free.get(tuple(piece.heading)):
            names.append(left.pop(0))
        else:
            number += 1
            name = slug(piece.heading[-1])[:40].strip("-") if piece.heading else ""
            names.append(f"{stem}--{number:04}{'-' * bool(name)}{name}")
    return names


def _number(section_id: str) -> int:
    return int(section_id.rpartition("--")[2].partition("-")[0])


def _title(place: SectionPlace, section_id: str, alone: bool) -> str:
    """Manual and heading; with a number where it has no heading, or shares it."""
    if not place.heading:
        return f"{place.manual}, section {_number(section_id)}"
    return f"{place.manual}, {place.heading[-1]}" + ("" if alone else f" ({_number(section_id)})")


def _stretch(
    document: Document, heading: list[str], begin: tuple[int, int], skipped: int, end: tuple[int, int]
) -> Stretch | None:
    """The text from `begin` to `end`, each (paragraph, character), without the first `skipped` characters."""
    texts: list[tuple[int, str]] = []
    for at in range(begin[0], min(end[0] + (end[1] > 0), len(document.paragraphs))):
        text = document.paragraphs[at].text
        text = text[: end[1]] if at == end[0] else text
        # A markdown heading may end in the signs that it begins with.
        text = text[begin[1] + skipped :].lstrip(" #") if at == begin[0] and skipped else text
        if text.strip():
            texts.append((at, text.strip()))
    if not texts:
        return None
    return Stretch(heading, "\n\n".join(text for _, text in texts), texts[0][0], texts[-1][0])
