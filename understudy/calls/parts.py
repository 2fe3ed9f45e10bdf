"""
A talk that does not fit a teacher's context window, cut once into parts that do.

Equal cuts are moved to the longest pause near them, or to the nearest paragraph where no pause is
known. Every paragraph is in exactly one part, so nothing is lost and nothing is repeated.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from understudy.errors import TeacherError
from understudy.records import Document, Paragraph

NEAR = 0.15  # of a part's length: how far a cut may move to find a pause


class Part(NamedTuple):
    """Some paragraphs of a talk in a row. `number` counts from 1; `first` is the index of its first paragraph."""

    number: int
    of: int
    first: int
    document: Document


def parts(document: Document, tokens: Callable[[str], int], window: int | None, at_least: int = 1) -> list[Part]:
    """The whole talk as one part when it fits `window` tokens, else as few parts as fit, but `at_least`.

    Raises TeacherError when one paragraph alone is over the window.
    """
    sizes = [tokens(paragraph.text) for paragraph in document.paragraphs]
    if at_least == 1 and (window is None or sum(sizes) <= window):
        return [Part(1, 1, 0, document)]
    window = window or sum(sizes)
    if max(sizes) > window:
        raise TeacherError(
            f"a paragraph of {document.document_id} has {max(sizes)} tokens, more than the {window} that the teacher "
            "takes at once; choose a teacher with a larger context window"
        )
    for count in range(max(at_least, -(-sum(sizes) // window)), len(sizes) + 1):
        edges = [0, *_cuts(document.paragraphs, sizes, count), len(sizes)]
        ranges = list(pairwise(edges))
        if all(start < end and sum(sizes[start:end]) <= window for start, end in ranges):
            return [_part(document, at, len(ranges), start, end) for at, (start, end) in enumerate(ranges, 1)]
    raise AssertionError("one paragraph a part always fits")


def _cuts(paragraphs: Sequence[Paragraph], sizes: Sequence[int], count: int) -> list[int]:
    """The paragraphs at which parts 2 to `count` begin."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    length = starts[-1] / count
    cuts: list[int] = []
    for at in range(1, count):
        ideal, least = length * at, (cuts[-1] if cuts else 0) + 1
        choice = range(least, len(sizes) - (count - at) + 1)
        nearest = min(choice, key=lambda i: abs(starts[i] - ideal))
        near = [i for i in choice if abs(starts[i] - ideal) <= NEAR * length] or [nearest]
        cuts.append(max(near, key=lambda i: (paragraphs[i].pause_seconds or 0.0, -abs(starts[i] - ideal))))
    return cuts


def _part(document: Document, number: int, of: int, start: int, end: int) -> Part:
    """The paragraphs from `start` to `end` as a document that says which part it is."""
    paragraphs = document.paragraphs[start:end]
    first, last = paragraphs[0].start_seconds, document.duration_seconds
    if end < len(document.paragraphs):
        last = document.paragraphs[end].start_seconds
    fields = {
        "title": f"{document.title} (part {number} of {of})",
        "paragraphs": paragraphs,
        "duration_seconds": last - first if first is not None and last is not None else None,
    }
    return Part(number, of, start, document.model_copy(update=fields))
