"""
The same talk in two places: a lecture on a channel, as a podcast, and as a file.

Two transcripts of one talk differ in every seventh word where a machine wrote one of them, so that not their words are
compared but their runs of GRAM_WORDS words, of which about one in SAMPLE is looked at. Lectures of one series on one
subject have 4 % of them in common at most; a transcript and one with a quarter of its words wrong still have 35 %.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from understudy.channel.ledger import Row
from understudy.records import Document, Entry
from understudy.text.words import words

GRAM_WORDS, SAMPLE, SHARE = 4, 16, 0.25
LEAST_GRAMS = 4
"""With fewer in the sample nothing is said about a talk."""
LONGER = 1.25
"""Times as long as the other: then it is the whole, and the other a part of it."""
REASON = "the same talk as "


class Candidate(NamedTuple):
    """A talk that is here, the key of its source, and whether it was answered, and paid, already."""

    document: Document
    source: str
    answered: bool


def is_known(entry: Entry, rows: Mapping[str, Row]) -> bool:
    """Whether the ledger says that this talk is another one, which is still there."""
    row = rows.get(entry.document_id)
    if row is None or row.status != "duplicate" or row.revision != entry.revision:
        return False
    twin = rows.get((row.reason or "").removeprefix(REASON))
    return twin is not None and twin.status in ("ok", "unanswered")


def find(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Id of a talk that is in another source too > the id of the one that is kept.

    An answered one is kept, then one that is much longer, then the one whose source stands first. Talks of one source
    are not compared, nor are two that were both answered.
    """
    kept, sizes, others = list[Candidate](), list[int](), dict[str, str]()
    index: dict[int, list[int]] = defaultdict(list)
    for one in sorted(candidates, key=lambda candidate: not candidate.answered):
        sample = _sample(one.document)
        common = Counter(at for gram in sample for at in index[gram])
        twin = next(
            (at for at, count in common.most_common(3) if _is_twin(kept[at], one, count, sizes[at], sample)), -1
        )
        if twin >= 0 and not _replaces(one, kept[twin]):
            others[one.document.document_id] = kept[twin].document.document_id
            continue
        if twin >= 0:
            former = kept[twin].document.document_id
            others = {name: one.document.document_id if of == former else of for name, of in others.items()}
            others[former], kept[twin] = one.document.document_id, one
        kept.append(one)
        sizes.append(len(sample))
        for gram in sample:
            index[gram].append(len(kept) - 1)
    return others


def _is_twin(known: Candidate, one: Candidate, common: int, size: int, sample: set[int]) -> bool:
    smaller = min(size, len(sample))
    if known.source == one.source or (known.answered and one.answered) or smaller < LEAST_GRAMS:
        return False
    return common >= SHARE * smaller


def _replaces(one: Candidate, known: Candidate) -> bool:
    return not known.answered and one.document.words > LONGER * known.document.words


def _sample(document: Document) -> set[int]:
    said = words(document.text)
    runs = (hash(tuple(said[at : at + GRAM_WORDS])) for at in range(len(said) - GRAM_WORDS + 1))
    return {run for run in runs if run % SAMPLE == 0}
