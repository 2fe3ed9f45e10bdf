"""
Stage `verify`: a second model checks pairs against their talk, and only what was checked counts as checked.

A pair is approved, disapproved, or neither: because it was not drawn, or because no verdict came. Neither
is never counted as one of the two, and the approval rate covers only the pairs that were verified.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from understudy import store
from understudy.calls import verifying
from understudy.calls.model_teacher import ModelTeacher
from understudy.calls.parts import parts
from understudy.errors import DatasetError, TeacherError
from understudy.graph import fingerprint_of
from understudy.records import AssetRef, Document, Interval, Pair, Questions, Talk, Verification, Verified
from understudy.scoring.statistics import Z, wilson
from understudy.sections import VerifySpec
from understudy.text.words import one_line
from understudy.workspace import Workspace

VERSION = 1
GATE = "verify"
REASON_CHARACTERS = 200
_WORDS = {
    "grounded": "not grounded in the text",
    "no_hallucination": "says more than the text",
    "complete": "incomplete",
    "standalone": "does not stand alone",
}


class Summary(NamedTuple):
    """The verifier's verdicts on a channel's pairs, counted.

    `pairs` = approved + disapproved + errors + unverified. A disapproved pair may fail several criteria.
    """

    verifier: str
    pairs: int
    approved: int
    disapproved: int
    criteria: dict[str, int]
    """Criterion > disapproved pairs that fail it."""
    invented_quotes: int
    """Verdicts that rest on a quote the talk does not have: the verifier's own errors."""
    errors: int
    unverified: int
    rate: Interval | None
    """Approved of approved and disapproved, as an estimate for all pairs; None without any verdict."""
    usd: float


def verified(workspace: Workspace, gated: AssetRef, talk: Talk) -> AssetRef | None:
    """The verifier's verdicts on the pairs of a talk that the gates kept, when they are fresh."""
    return workspace.fresh("verified", _fingerprint(workspace, gated, talk), document=talk.document_id)


def verify_talk(workspace: Workspace, gated: AssetRef, talk: Talk, verifier: ModelTeacher) -> AssetRef:
    """The verifier's verdicts on one talk, requested unless they are fresh."""
    if ref := verified(workspace, gated, talk):
        return ref
    document, config = workspace.read(talk.document), workspace.config
    questions: Questions = workspace.read(talk.questions)
    pairs = _kept_by_talk(workspace.home, gated).get(talk.document_id, [])
    verdicts = verify(document, pairs, verifier, config.verify, config.seed, questions.parts)
    return workspace.save("verified", [verdicts], _fingerprint(workspace, gated, talk), document=talk.document_id)


def _fingerprint(workspace: Workspace, gated: AssetRef, talk: Talk) -> str:
    pairs = _kept_by_talk(workspace.home, gated).get(talk.document_id, [])
    inputs = [talk.document, talk.questions, talk.answers]
    return fingerprint_of(workspace, "verified", inputs, [pair.question_number for pair in pairs])


@lru_cache(maxsize=1)
def _kept_by_talk(home: Path, gated: AssetRef) -> dict[str, list[Pair]]:
    """The kept pairs of each talk, read once for all the talks that are verified."""
    by_talk: dict[str, list[Pair]] = {}
    for pair in store.read_rows(home, gated, Pair):
        if pair.kept:
            by_talk.setdefault(pair.document_id, []).append(pair)
    return by_talk


def sample(pairs: Sequence[Pair], fraction: float, seed: int) -> list[Pair]:
    """About `fraction` of each talk's pairs, and of all pairs; no talk's draw depends on another talk."""
    talks: dict[str, list[Pair]] = {}
    for pair in pairs:
        talks.setdefault(pair.document_id, []).append(pair)
    chosen = set[str]()
    for talk, mine in talks.items():
        # Rounded up as often as the part behind the point says: rounding down would skip all short talks.
        count = math.floor(fraction * len(mine) + verifying.drawn(seed, "count", talk))
        ranked = sorted(mine, key=lambda pair: verifying.drawn(seed, "sample", pair.pair_id))
        chosen |= {pair.pair_id for pair in ranked[:count]}
    return [pair for pair in pairs if pair.pair_id in chosen]


def verify(
    document: Document, pairs: Sequence[Pair], verifier: ModelTeacher, spec: VerifySpec, seed: int, split_into: int = 1
) -> Verified:
    """A verdict on every pair of one talk that is drawn; pairs already refused are left out by the caller.

    `split_into` is `Questions.parts`: how many parts the teacher read the talk in. Raises TeacherStopped.
    """
    chosen = sample(pairs, spec.fraction, seed)
    verdicts: dict[int, Verification] = {}
    errors: dict[int, str] = {}
    usd = 0.0
    for reading, mine in _readings(document, chosen, verifier, split_into, errors):
        for batch in verifying.batches(verifier, reading, mine):
            new, failed, cost = _checked(reading, batch, verifier, spec.max_repairs, seed)
            verdicts |= new
            errors |= failed
            usd += cost
    for number, why in errors.items():
        verdicts[number] = Verification(question_number=number, approved=None, error=why)
    return Verified(
        document_id=document.document_id,
        verifier=verifier.label,
        prompt_sha256=verifier.prompt_sha256("verify"),
        verdicts=[verdicts[number] for number in sorted(verdicts)],
        unverified=sorted({pair.question_number for pair in pairs} - verdicts.keys()),
        usd=usd,
    )


def apply(pairs: Iterable[Pair], verified: Mapping[str, Verified], only_approved: bool) -> list[Pair]:
    """Every pair with its verdict, by document id; what is refused names the gate 'verify' and says why.

    Pairs that a gate refused before stay as they are. Raises DatasetError when none is kept any more.
    """
    every = judged(pairs, verified, only_approved)
    refused = sum(pair.gate == GATE for pair in every)
    if refused and not any(pair.kept for pair in every):
        raise DatasetError(
            f"none of {len(every)} pairs is left: the verifier refused the last {refused}. Read why in verified.json "
            "beside each talk; then take another verifier, verify.only_approved=false, or verify.use=none"
        )
    return every


def judged(pairs: Iterable[Pair], verified: Mapping[str, Verified], only_approved: bool) -> list[Pair]:
    """Every pair with its verdict, by document id."""
    verdicts = {(talk, v.question_number): v for talk, checked in verified.items() for v in checked.verdicts}
    return [_applied(p, verdicts.get((p.document_id, p.question_number)), only_approved) for p in pairs]


def summary(verified: Iterable[Verified]) -> Summary:
    """The counts over all talks, and the approval rate with its interval."""
    talks = list(verified)
    verdicts = [verdict for talk in talks for verdict in talk.verdicts]
    approved = sum(verdict.approved is True for verdict in verdicts)
    against = [verdict for verdict in verdicts if verdict.approved is False]
    unverified = sum(len(talk.unverified) for talk in talks)
    failing = Counter(name for verdict in against for name in failed_criteria(verdict))
    return Summary(
        verifier=", ".join(sorted({talk.verifier for talk in talks})),
        pairs=len(verdicts) + unverified,
        approved=approved,
        disapproved=len(against),
        criteria={name: failing[name] for name in verifying.CRITERIA},
        invented_quotes=sum(verdict.invented_quote for verdict in verdicts),
        errors=sum(verdict.approved is None for verdict in verdicts),
        unverified=unverified,
        rate=approval_rate(approved, approved + len(against), len(verdicts) + unverified),
        usd=sum(talk.usd for talk in talks),
    )


def sentence(summary: Summary) -> str:
    """The counts as one sentence."""
    share = summary.rate
    rate = "" if share is None else f"; approval {share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"
    why = "".join(f", {count} {_WORDS[name]}" for name, count in summary.criteria.items())
    return (
        f"{summary.verifier}: {summary.approved} of {summary.pairs} pairs approved, {summary.disapproved} not{why}, "
        f"{summary.errors} without a verdict, {summary.unverified} not looked at{rate}"
    )


def approval_rate(approved: int, judged: int, pairs: int) -> Interval | None:
    """The share approved with its Wilson interval, narrower the more of all `pairs` were judged.

    Finite-population correction: n is worth n (N - 1) / (N - n), so that judging every pair leaves no doubt
    of how many the verifier approves. How often the verifier itself is wrong is in no interval.
    """
    if judged == 0:
        return None
    share = wilson(approved, judged)
    if judged >= pairs:
        return Interval(value=share.value, low=share.value, high=share.value, n=judged)
    worth = judged * (pairs - 1) / (pairs - judged)
    spread = Z * Z / worth
    centre = (share.value + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share.value * (1 - share.value) / worth + spread / (4 * worth)) / (1 + spread)
    return Interval(value=share.value, low=max(share.low, centre - half), high=min(share.high, centre + half), n=judged)


def failed_criteria(verdict: Verification) -> list[str]:
    """The criteria that a verdict denies."""
    return [name for name in verifying.CRITERIA if getattr(verdict, name) is False]


def reason(verdict: Verification | None) -> str:
    """Why the verifier's gate refuses a pair with this verdict; None is a pair that was not drawn."""
    if verdict is None:
        return "not verified: not in the sample"
    if verdict.error is not None:
        return one_line(f"not verified: {verdict.error}", REASON_CHARACTERS)
    failing = ", ".join(_WORDS[name] for name in failed_criteria(verdict))
    words = "the verifier's quote is not in the text" if verdict.invented_quote else verdict.reason
    return one_line(f"{failing}: {words}" if words else failing, REASON_CHARACTERS)


def _applied(pair: Pair, verdict: Verification | None, only_approved: bool) -> Pair:
    approved = verdict.approved if verdict else None
    pair = pair.model_copy(update={"verified": approved})
    if not pair.kept or approved or (approved is None and not only_approved):
        return pair
    return pair.model_copy(update={"kept": False, "gate": GATE, "reason": reason(verdict)})


def _readings(
    document: Document, pairs: Sequence[Pair], verifier: ModelTeacher, split_into: int, errors: dict[int, str]
) -> list[tuple[Document, list[Pair]]]:
    """The talk whole with all pairs, or each part the teacher read with its own; what fits neither goes to `errors`."""
    window, tokens = verifier.window(), verifier.tokens(document.text)
    if window is None or tokens <= window:
        return [(document, list(pairs))]
    try:
        pieces = parts(document, verifier.tokens, window, split_into) if split_into > 1 else []
    except TeacherError:
        pieces = []
    if len(pieces) != split_into:
        why = f"the talk has {tokens} tokens, and {verifier.label} reads {window} at once: take a larger context window"
        errors |= {pair.question_number: why for pair in pairs}
        return []
    return [(piece.document, [pair for pair in pairs if pair.part == piece.number]) for piece in pieces]


def _checked(
    document: Document, pairs: Sequence[Pair], verifier: ModelTeacher, max_repairs: int, seed: int
) -> tuple[dict[int, Verification], dict[int, str], float]:
    """Verdicts and errors by number, and USD: all pairs at once, then again those without a verdict."""
    verdicts: dict[int, Verification] = {}
    rounds: Counter[tuple[int, ...]] = Counter()
    pending, error, usd = list(pairs), "", 0.0
    for _ in range(max_repairs + 1):
        # A round counts for equal calls only: a stored reply is matched regardless of the calls in between.
        numbers = tuple(pair.question_number for pair in pending)
        checked = verifying.ask(verifier, document, pending, seed, rounds[numbers])
        rounds[numbers] += 1
        verdicts |= checked.verdicts
        usd += checked.usd
        pending, error = [pair for pair in pending if pair.question_number not in verdicts], checked.error
        if not pending:
            break
    return verdicts, {pair.question_number: error for pair in pending}, usd
