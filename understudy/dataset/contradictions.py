"""
Sections that contradict each other: which passages to look at, and which answers rest on one side of it.

Both sides are kept: which of them is right is for people to say.
"""

from collections.abc import Iterable, Mapping, Sequence

from understudy.records import Claim, Contradiction, Document, Pair, Passage
from understudy.retrieval.index import Index
from understudy.text.keywords import coverage

NEAREST = 6
"""Passages of other sections that are looked at for each."""
LEAST_LIKENESS = 0.12
"""Score of a passage for the words of another, over that other's own: below it, they share hardly a word."""
TEACHER = "teacher"
Two = tuple[Passage, Passage]


def candidates(passages: Sequence[Passage], per_section: float, looked_at: Iterable[str] = ()) -> list[Two]:
    """Passages of like subject in two sections, the likest first: at most `per_section` times as many as sections.

    `looked_at` are digests of passages that were compared before; two of them are no candidate again. Equal texts
    contradict nothing.
    """
    index, known = Index(passages), set(looked_at)
    place = {passage.passage_id: at for at, passage in enumerate(passages)}
    own = {passage.document_id: 0 for passage in passages}
    for passage in passages:
        own[passage.document_id] += 1
    likeness: dict[tuple[int, int], float] = {}
    for passage in passages:
        hits = index.search(passage.text, NEAREST + own[passage.document_id])
        itself = max((hit.score for hit in hits), default=0.0)
        for hit in hits:
            other = hit.passage
            if other.document_id == passage.document_id or other.sha256 == passage.sha256:
                continue
            if passage.sha256 in known and other.sha256 in known:
                continue
            low, high = sorted((place[passage.passage_id], place[other.passage_id]))
            likeness[low, high] = max(likeness.get((low, high), 0.0), hit.score / itself)
    ranked = sorted(likeness, key=lambda two: (-likeness[two], two))
    fresh = {passage.document_id for passage in passages if passage.sha256 not in known}
    most = round(per_section * len(fresh))
    return [(passages[a], passages[b]) for a, b in ranked if likeness[a, b] >= LEAST_LIKENESS][:most]


def claim(passage: Passage, quote: str, documents: Mapping[str, Document]) -> Claim:
    """One side of a contradiction."""
    made = _claim(passage.document_id, passage.title, quote, documents)
    return made.model_copy(update={"sha256": passage.sha256})


def named_by_teacher(pairs: Iterable[Pair], documents: Mapping[str, Document]) -> list[Contradiction]:
    """What the teacher called a contradiction in an answer over two sections."""
    return [
        Contradiction(
            first=_claim(pair.sources[0].document_id, pair.sources[0].title, "", documents),
            second=_claim(pair.sources[1].document_id, pair.sources[1].title, "", documents),
            about=pair.question,
            by=TEACHER,
        )
        for pair in pairs
        if "contradiction" in pair.tags and len(pair.sources) > 1
    ]


def joined(found: Sequence[Contradiction], named: Sequence[Contradiction]) -> list[Contradiction]:
    """Those of the verifier, and of the teacher's those over other sections."""
    sections = {frozenset((one.first.section, one.second.section)) for one in found}
    return [*found, *(one for one in named if frozenset((one.first.section, one.second.section)) not in sections)]


def touched(pair: Pair, contradictions: Iterable[Contradiction]) -> list[str]:
    """Ids of sections that contradict what the answer of `pair` rests on.

    An answer rests on a claim of its section where it has a number or word of the quote among those that decide; on
    both sides of what the teacher named only where it is over both sections.
    """
    sections = set(pair.documents)
    others = list[str]()
    for one in contradictions:
        sides = (one.first, one.second)
        if {side.section for side in sides} <= sections:
            others += [side.section for side in sides]
            continue
        for side, other in (sides, sides[::-1]):
            if side.section in sections and side.quote and _rests_on(pair, side.quote):
                others.append(other.section)
    return list(dict.fromkeys(others))


def sentence(one: Contradiction) -> str:
    """The contradiction, for people."""
    first, second = (f"{side.manual}, {' > '.join(side.heading)}".rstrip(", ") for side in (one.first, one.second))
    quotes = f": “{one.first.quote}” against “{one.second.quote}”" if one.first.quote else ""
    return f"{first} and {second}{quotes}" + (f" ({one.about})" if one.about else "")


def _rests_on(pair: Pair, quote: str) -> bool:
    numbers = [group for group in pair.keywords if any(c.isdigit() for word in group for c in word)]
    return bool(coverage(quote, numbers or pair.keywords))


def _claim(section: str, title: str, quote: str, documents: Mapping[str, Document]) -> Claim:
    place = documents[section].section if section in documents else None
    return Claim(
        section=section,
        manual=place.manual if place else title,
        heading=place.heading if place else [],
        quote=quote,
    )
