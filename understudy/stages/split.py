"""
Stage `split`: kept pairs to train, valid and test, so that nothing held out was trained on.

What belongs together (all pairs of one talk, and near-duplicate questions of different talks)
goes to one side. The order comes from a digest of seed and name, so a new talk does not reshuffle
the others. With fewer than three such groups no honest held-out set exists: then near-duplicate
groups inside the talks are split instead, and the plan says so.
"""

from collections.abc import Sequence

from understudy.config import SplitSettings
from understudy.errors import DatasetError
from understudy.records import ChatExample, Leakage, Message, Pair, Side, SplitPlan, sha256_of
from understudy.similarity import components, near_duplicates

VERSION = 1
SIDES: tuple[Side, ...] = ("train", "valid", "test")


def split(pairs: Sequence[Pair], settings: SplitSettings, seed: int) -> SplitPlan:
    """Which kept pair is on which side. Raises DatasetError with fewer than three questions that differ."""
    kept = sorted((pair for pair in pairs if pair.kept), key=lambda pair: (pair.document_id, pair.question_number))
    links = list(near_duplicates([pair.question for pair in kept], settings.near_duplicate))
    groups = _groups(kept, [*links, *_same_talk(kept)])
    honest = len(groups) >= len(SIDES)
    if not honest:
        groups = _groups(kept, links)
    if len(groups) < len(SIDES):
        raise DatasetError(f"{len(kept)} kept pairs are too few to hold any out; add talks or loosen the gates")
    sides = _fill(groups, settings, seed, honest)
    return SplitPlan(
        sides={side: [p.pair_id for p in kept if sides[p.pair_id] == side] for side in SIDES},
        documents={side: sorted({p.document_id for p in kept if sides[p.pair_id] == side}) for side in SIDES},
        leakage=_leakage(kept, sides, links, honest),
        honest=honest,
    )


def example(pair: Pair) -> ChatExample:
    """The pair as a training row."""
    return ChatExample(
        messages=[
            Message(role="user", content=pair.question),
            Message(role="assistant", content=pair.answer),
        ]
    )


def _same_talk(kept: Sequence[Pair]) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(len(kept) - 1) if kept[i].document_id == kept[i + 1].document_id]


def _groups(kept: Sequence[Pair], links: Sequence[tuple[int, int]]) -> list[list[Pair]]:
    found: dict[int, list[Pair]] = {}
    for pair, group in zip(kept, components(len(kept), links), strict=True):
        found.setdefault(group, []).append(pair)
    return list(found.values())


def _fill(groups: list[list[Pair]], settings: SplitSettings, seed: int, honest: bool) -> dict[str, Side]:
    """Test first, then valid, then train, each group whole, until shares and minimum talks are met."""
    total = sum(map(len, groups))
    waiting = sorted(groups, key=lambda group: sha256_of(f"{seed}/{min(p.pair_id for p in group)}".encode()))
    sides: dict[str, Side] = {}
    wishes: tuple[tuple[Side, float], ...] = (("test", settings.test), ("valid", settings.valid))
    for side, share in wishes:
        taken, talks = 0, set()
        while (
            share
            and len(waiting) > (2 if side == "test" else 1)
            and (taken < round(share * total) or (honest and len(talks) < settings.min_documents) or not taken)
        ):
            group = waiting.pop(0)
            taken += len(group)
            talks |= {pair.document_id for pair in group}
            sides |= dict.fromkeys((pair.pair_id for pair in group), side)
    sides |= {pair.pair_id: "train" for group in waiting for pair in group}
    return sides


def _leakage(kept: Sequence[Pair], sides: dict[str, Side], links: Sequence[tuple[int, int]], honest: bool) -> Leakage:
    trained = {pair.document_id for pair in kept if sides[pair.pair_id] == "train"}
    crossing = {
        kept[i].pair_id
        for a, b in links
        for i in (a, b)
        if sides[kept[a].pair_id] != sides[kept[b].pair_id] and sides[kept[i].pair_id] != "train"
    }
    return Leakage(
        rows_sharing_a_document=sum(sides[p.pair_id] != "train" and p.document_id in trained for p in kept),
        near_duplicate_questions=len(crossing),
        explained=None if honest else "fewer than three independent talks: held-out questions come from trained talks",
    )
