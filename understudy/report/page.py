"""
report.html, one file that asks the network for nothing and runs no script.

Order: one sentence of verdict and what to do; three questions with their answers; the numbers in plain words; what the
words mean. Then, folded, everything for specialists: each verdict with its reason; did it learn; did it break; is the
exported file what was trained; what does it cost to run; answers side by side; training curves; run record.
"""

from collections.abc import Iterator
from typing import NamedTuple

from understudy.records import Scorecard
from understudy.report import LEARNED, answers, difference, label, number, tables, words
from understudy.report.causes import causes
from understudy.report.charts import forests, loss_curve, small_curves
from understudy.report.evidence import Evidence
from understudy.report.findings import WORDS, findings
from understudy.report.outcome import outcome
from understudy.report.rendering import render
from understudy.report.shapes import forms, lengths
from understudy.scoring import preferences

BROKEN = (
    "broken", "empty", "endless", "cut", "loops", "token_leak", "too_short", "wrong_script", "wrong_language", "copied",
    "instructions", "choices", "off_topic", "keyword_coverage", "citation_precision", "substantive", "over_refusal",
    "cites", "declines_rightly", "refusal_precision", "refusal_recall", "seconds", "first_token_seconds",
)  # fmt: skip


class Line(NamedTuple):
    """One verdict with its numbers and its reason."""

    word: str
    name: str
    numbers: str
    why: str


def html(evidence: Evidence) -> str:
    """The whole page as HTML. Everything that comes from data is escaped."""
    card, parity = evidence.scorecard, evidence.parity
    person = preferences.verdict(evidence.people)
    measured = {n: i for n, i in card.differences.items() if n in LEARNED or n.startswith("nll_")}
    broke = {n: i for n, i in card.differences.items() if n.startswith("kl_") or (n in BROKEN and n in card.verdicts)}
    return render(
        "report.html",
        card=card,
        outcome=outcome(evidence),
        first=_first(evidence),
        findings=findings(card),
        words=WORDS,
        counted=words.counted(card, len(evidence.answers["tuned"])),
        basis=words.basis(card),
        dishonest=words.DISHONEST,
        decision=words.decision(card),
        verdicts=list(_verdicts(card)),
        learned=forests(measured),
        shapes=_shapes(evidence),
        phrases=tables.phrases(card.phrases),
        topics=tables.topics(card.topics),
        held_out=tables.basis(card.basis),
        arms=tables.arms(card.against_retrieval) if card.against_retrieval else None,
        manuals=tables.manuals(card.manuals) if card.manuals else None,
        causes=causes(evidence),
        baselines=tables.baselines(card.baselines),
        judge=tables.judge(card.judge) if card.judge else None,
        person=person,
        choices=tables.person(person) if person else None,
        not_measured=list(words.missing(evidence)),
        broke=forests(broke),
        broken=tables.candidates(card, BROKEN, "Share of the answers, and of the items of each suite"),
        parity=parity,
        checks=tables.parity(parity) if parity else None,
        costs=tables.costs(card, parity),
        groups=answers.groups(evidence.samples, evidence.pairs, card.run),
        curve=loss_curve(evidence.curve, evidence.kept),
        small_curves=small_curves(evidence.curve),
        every=tables.candidates(card),
        records={title: tables.record(kept) for title, kept in {"Dataset": evidence.dataset, **evidence.cards}.items()},
    )


def _verdicts(card: Scorecard) -> Iterator[Line]:
    """Every verdict with its numbers and its reason, those of learning first."""
    scored = {candidate.name: candidate.metrics for candidate in card.candidates}
    for name in sorted(card.verdicts, key=lambda name: LEARNED.index(name) if name in LEARNED else len(LEARNED)):
        if name in card.differences:
            before, after = (scored.get(c, {}).get(name) for c in ("base", "adapter"))
            both = f"{number(name, before.value)} → {number(name, after.value)}, " if before and after else ""
            interval, word = card.differences[name], card.verdicts[name]
            numbers = both + difference(name, interval)
            yield Line(word, label(name).text, numbers, words.why(name, interval, word, card))


def _first(evidence: Evidence) -> dict[str, tuple[str, list[answers.Column]]]:
    """Title > question and answers, for the top of the page."""
    chosen = answers.first(evidence.samples, evidence.pairs)
    return {title: (one.pair.question, answers.side_by_side(one)) for title, one in chosen.items()}


def _shapes(evidence: Evidence) -> list[str]:
    texts = evidence.answers
    return [lengths(texts), forms(texts)] if texts["base"] and texts["tuned"] else []
