"""
Documents cut into passages: by heading where there are headings, then by size, never inside a sentence.

Two documents of one title get a number to tell them apart, since an answer cites a title.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Document, Passage, sha256_of
from understudy.retrieval.sections import Stretch, stretches
from understudy.text.words import sentences, word_count


class Cutting(BaseModel):
    """How documents become passages."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    by: Literal["heading", "paragraph", "size"] = Field(
        default="heading", description="where a passage ends at the latest; size: only by its words"
    )
    words: int = Field(default=120, ge=20, description="of a passage, at most; one longer sentence stays whole")
    overlap_words: int = Field(default=0, ge=0, description="of the passage before that a passage repeats, at most")


def cut(documents: Sequence[Document], cutting: Cutting) -> list[Passage]:
    """The passages of all documents, in their order."""
    passages: list[Passage] = []
    titles = unique_titles(documents)
    for document in documents:
        pieces = (piece for section in _units(document, cutting) for piece in _pieces(section, cutting))
        passages += [
            Passage(
                passage_id=f"{document.document_id}/{number}",
                document_id=document.document_id,
                title=titles[document.document_id],
                heading=piece.heading or (document.section.heading if document.section else []),
                text=piece.text,
                first_paragraph=piece.first_paragraph,
                last_paragraph=piece.last_paragraph,
                sha256=sha256_of(piece.text.encode()),
            )
            for number, piece in enumerate(pieces, 1)
        ]
    return passages


def unique_titles(documents: Sequence[Document]) -> dict[str, str]:
    """Document id > title; the second and later ones of one title, whatever its case, have a number."""
    used: set[str] = set()
    titles: dict[str, str] = {}
    for document in documents:
        title = name = " ".join(document.title.split())
        number = 1
        while name.casefold() in used:
            number += 1
            name = f"{title} no. {number}"  # no comma: in round brackets a heading follows one
        used.add(name.casefold())
        titles[document.document_id] = name
    return titles


def _units(document: Document, cutting: Cutting) -> list[Stretch]:
    if cutting.by == "heading":
        return stretches(document)
    if cutting.by == "paragraph":
        return [Stretch([], p.text, at, at) for at, p in enumerate(document.paragraphs)]
    return [Stretch([], document.text, 0, len(document.paragraphs) - 1)]


def _pieces(section: Stretch, cutting: Cutting) -> Iterator[Stretch]:
    """The section in pieces of whole sentences, each with the last sentences of the one before where they overlap."""
    marked = [
        (at, sentence)
        for at, paragraph in enumerate(section.text.split("\n\n"), section.first_paragraph)
        for sentence in sentences(paragraph)
    ]
    piece: list[tuple[int, str]] = []
    fresh = size = 0
    for at, sentence in marked:
        count = word_count(sentence)
        if fresh and size + count > cutting.words:
            yield _piece(section, piece)
            piece = _tail(piece, min(cutting.overlap_words, cutting.words - count))
            fresh, size = 0, sum(word_count(text) for _, text in piece)
        piece.append((at, sentence))
        fresh, size = fresh + 1, size + count
    if fresh:
        yield _piece(section, piece)


def _tail(piece: list[tuple[int, str]], at_most_words: int) -> list[tuple[int, str]]:
    """The last sentences of a piece, of `at_most_words` together."""
    for start in range(1, len(piece)):
        if sum(word_count(text) for _, text in piece[start:]) <= at_most_words:
            return piece[start:]
    return []


def _piece(section: Stretch, marked: list[tuple[int, str]]) -> Stretch:
    return Stretch(section.heading, " ".join(text for _, text in marked), marked[0][0], marked[-1][0])
