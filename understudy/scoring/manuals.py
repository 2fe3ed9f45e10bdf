"""Manual by manual: how often the verifier approves what the teacher wrote, and how often answers are right."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from understudy.records import ARMS, Contradiction, Interval, Manuals, ManualScore, Pair, Sample
from understudy.scoring import arms
from understudy.scoring.statistics import wilson

LEAST_JUDGED = 10
"""Pairs that a verifier has looked at before it is a finding that all its verdicts are the same."""
VERIFY = "verify"
OVER_TWO = "over two manuals"


class Approval(NamedTuple):
    """The verifier's verdicts on the pairs of one manual that came as far as it."""

    manual: str
    approved: int
    judged: int
    pairs: int

    @property
    def rate(self) -> Interval | None:
        """The share approved of those that were judged, with its Wilson interval; None without a verdict."""
        return wilson(self.approved, self.judged) if self.judged else None


def approvals(pairs: Iterable[Pair]) -> list[Approval]:
    """One for each manual, in the order of the pairs; pairs that a gate refused before are left out."""
    listed = [pair for pair in pairs if pair.kept or pair.verified is not None or pair.gate == VERIFY]
    groups: dict[str, list[Pair]] = {}
    for pair, manual in zip(listed, manuals_of(listed), strict=True):
        if manual:
            groups.setdefault(manual, []).append(pair)
    return [
        Approval(manual, sum(p.verified is True for p in own), sum(p.verified is not None for p in own), len(own))
        for manual, own in groups.items()
    ]


def manuals_of(pairs: Sequence[Pair]) -> list[str | None]:
    """The manual of each pair; those over two manuals have one name together."""
    single = {pair.manual for pair in pairs if pair.kind != "synthesis"}
    return [pair.manual if pair.manual in single or not pair.manual else OVER_TWO for pair in pairs]


def warning(every: Iterable[Approval]) -> str | None:
    """A sentence where all verdicts are the same, which says more about the verifier than about the pairs."""
    listed = list(every)
    approved, judged = sum(one.approved for one in listed), sum(one.judged for one in listed)
    if judged < LEAST_JUDGED or 0 < approved < judged:
        return None
    if approved:
        return (
            f"The verifier approved all {judged} pairs that it looked at: all may be right, or it does not look; "
            "read some of them yourself, or take another model (verify)."
        )
    return (
        f"The verifier refused all {judged} pairs that it looked at: read its reasons in verified.json beside the "
        "sections, and trust neither it nor the pairs before; most often another model is needed (verify)."
    )


def summary(
    pairs: Sequence[Pair],
    held_out: Sequence[Pair],
    samples: Mapping[str, Sequence[Sample]],
    contradictions: Sequence[Contradiction],
    seed: int,
) -> Manuals | None:
    """Everything by manual; None where pairs are not about manuals. Pairs over two manuals are one row."""
    every = {one.manual: one for one in approvals(pairs)}
    manual_of = {pair.pair_id: manual for pair, manual in zip(pairs, manuals_of(pairs), strict=True) if manual}
    names = list(dict.fromkeys([*every, *(manual_of[p.pair_id] for p in held_out if p.pair_id in manual_of)]))
    if not names:
        return None
    scores = []
    for name in names:
        own = {pair.pair_id: pair for pair in held_out if manual_of.get(pair.pair_id) == name}
        chosen = {arm: [s for s in samples[arm] if s.pair_id in own] for arm in ARMS if arm in samples}
        approval = every.get(name)
        scores.append(
            ManualScore(
                manual=name,
                questions=len(own),
                metrics={arm: arms.measured(rows, own, seed) for arm, rows in chosen.items() if rows},
                approval=approval.rate if approval else None,
            )
        )
    return Manuals(scores=scores, warning=warning(every.values()), contradictions=list(contradictions))
