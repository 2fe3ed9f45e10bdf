"""How good a retriever is: whether the right passages are among the first, and how early."""

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Quality(NamedTuple):
    """Means over questions, each from 0 to 1; as pytrec_eval's success and recip_rank."""

    hit_rate: float
    """Share of questions with a right passage among the first."""
    mean_reciprocal_rank: float
    """1 over the rank of the first right passage, 0 without one."""
    questions: int


def quality(found: Sequence[Sequence[str]], right: Sequence[Collection[str]], first: int) -> Quality:
    """`found` are the ids of each question's passages, best first; `right` those that answer it."""
    ranks = [
        next((rank for rank, name in enumerate(names[:first], 1) if name in wanted), None)
        for names, wanted in zip(found, right, strict=True)
    ]
    reciprocal = [1 / rank if rank else 0.0 for rank in ranks]
    count = max(1, len(ranks))
    return Quality(sum(rank is not None for rank in ranks) / count, sum(reciprocal) / count, len(ranks))
