"""
Which rows of several datasets go into one, and where.

What a set holds out stays held out: where one set holds out what another trains on (the same or a near-duplicate
question, or another question about the same section), the held-out rows stay and the others are left out, test before
valid before train. Of two near-duplicates in one split that of the set that is named first stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from understudy.dataset.leakage import Alike, measure
from understudy.records import Pair, Split, SplitPlan
from understudy.text.similarity import near_duplicates

SPLITS: tuple[Split, ...] = ("test", "valid", "train")
"""Where two sets differ, the earlier one holds."""
NEAR_DUPLICATE = 0.7


class Placed(NamedTuple):
    """A pair of a set that is in a split; sections of equal text have one id in all sets."""

    pair: Pair
    split: Split
    recall: bool
    """Whether it is held out while its section is trained on."""
    channel: str


class _Home(NamedTuple):
    """Where a section belongs, and by which set."""

    rank: int
    channel: str


def chosen(placed: Sequence[Placed]) -> tuple[list[Placed], dict[str, str]]:
    """What stays, and pair > why it does not."""
    homes = _homes(placed)
    questions = [one.pair.question for one in placed]
    alike = Alike(questions, list(near_duplicates(questions, NEAR_DUPLICATE)))
    inside: dict[int, list[int]] = {}
    left_out = dict[str, str]()
    for at in sorted(range(len(placed)), key=lambda at: (SPLITS.index(placed[at].split), at)):
        one = placed[at]
        twins = (placed[other] for kind in alike.kinds(at) for other in inside.get(kind, ()))
        if reason := _held_out_elsewhere(one, homes) or _asked_before(one, twins):
            left_out[one.pair.pair_id] = reason
        else:
            inside.setdefault(alike.spokesman[at], []).append(at)
    kept = [one for one in placed if one.pair.pair_id not in left_out]
    homes = _homes(kept)  # where nothing of a section is trained on any more, its questions are ordinary held-out ones
    return [one._replace(recall=one.recall and _rank(one, homes) == SPLITS.index("train")) for one in kept], left_out


def plan(kept: Sequence[Placed]) -> SplitPlan:
    """The split of what stays, with what its parts have in common."""
    ordered = sorted(kept, key=lambda one: (one.pair.document_id, one.pair.question_number))
    pairs = [one.pair for one in ordered]
    questions = [pair.question for pair in pairs]
    alike = Alike(questions, list(near_duplicates(questions, NEAR_DUPLICATE)))
    leakage = measure(pairs, {one.pair.pair_id: one.split for one in ordered if not one.recall}, alike)
    splits: tuple[Split, ...] = ("train", "valid", "test")
    return SplitPlan(
        splits={split: [one.pair.pair_id for one in ordered if one.split == split] for split in splits},
        documents={
            split: sorted({one.pair.document_id for one in ordered if one.split == split and not one.recall})
            for split in splits
        },
        recall=[one.pair.pair_id for one in ordered if one.recall],
        leakage=leakage,
        honest=not (leakage.rows_sharing_a_document or leakage.rows_sharing_a_passage),
    )


def _homes(placed: Sequence[Placed]) -> dict[str, _Home]:
    """Section > where it belongs: the first of `SPLITS` that a set has it in."""
    homes: dict[str, _Home] = {}
    for one in placed:
        for section in one.pair.documents if not one.recall else ():
            mine = _Home(SPLITS.index(one.split), one.channel)
            if section not in homes or mine.rank < homes[section].rank:
                homes[section] = mine
    return homes


def _rank(one: Placed, homes: Mapping[str, _Home]) -> int:
    """The lowest place of its sections; that of train where no other row is about them."""
    return min((homes[section].rank for section in one.pair.documents if section in homes), default=2)


def _held_out_elsewhere(one: Placed, homes: Mapping[str, _Home]) -> str | None:
    if one.recall or _rank(one, homes) >= SPLITS.index(one.split):
        return None
    section = min(one.pair.documents, key=lambda section: homes[section].rank)
    return f"{homes[section].channel} holds out its section {section}"


def _asked_before(one: Placed, twins: Iterable[Placed]) -> str | None:
    """Why a row cannot stay whose question has its place already; a set may ask alike within one split."""
    for other in twins:
        if other.channel != one.channel or other.split != one.split:
            return f"a near-duplicate of {other.pair.pair_id} in {other.split}"
    return None
