"""What the scorecard says in words: each verdict with its reason, and what is missing with what to set."""

from collections.abc import Iterator
from typing import NamedTuple

from understudy.records import Interval, Scorecard, Word
from understudy.report import UNITS, label, readable, signed
from understudy.report.evidence import Evidence
from understudy.scoring.verdicts import BUDGETS, MARGINS, MIN_PAIRS, MIN_TALKS
from understudy.text.words import counted as several

DISHONEST = (
    "The held-out questions come from talks that were also trained on, so nothing here shows that anything "
    "was learned. Add talks until whole talks can be held out."
)
ACTIONS = {
    "ship": "Ship it",
    "lower the learning rate": "Lower the learning rate and train again",
    "train longer": "Train longer",
    "take a better base": "Choose a better base",
    "more data": "Add more data",
    "bug upstream of training": "Fix a defect outside of training first",
}


class Advice(NamedTuple):
    """What to do, and why, one sentence each."""

    action: str
    reasons: list[str]
    kind: str
    """A class of the style sheet."""


def basis(card: Scorecard) -> str:
    """What everything was measured on."""
    return f"Measured on {several(card.test_pairs, 'held-out pair')} of {several(card.test_documents, card.unit)}."


def counted(card: Scorecard, answered: int) -> str:
    """What the numbers for a person were taken over: answers are written to some of the held-out questions only."""
    talks = several(card.test_documents, card.unit)
    if answered in (0, card.test_pairs):
        return f"Measured on {several(card.test_pairs, 'held-out question')} from {talks}."
    return (
        f"Surprise is measured on {card.test_pairs} held-out questions from {talks}; {answered} of them were answered."
    )


def decision(card: Scorecard) -> Advice:
    """What to do with the run."""
    if card.decision is None:
        why_not = f"This scorecard has format {card.version}, which holds none; score the run again to get one."
        return Advice("No decision", [why_not], "none")
    where = f" ({card.decision.where})" if card.decision.where else ""
    reasons = [_sentence(readable(reason)) for reason in card.decision.reasons]
    return Advice(
        ACTIONS[card.decision.action] + where, reasons, "better" if card.decision.action == "ship" else "open"
    )


def why(name: str, interval: Interval, word: Word, card: Scorecard) -> str:
    """The sentence behind one verdict word."""
    worst = _end(name, _worst(name, interval))
    if name in BUDGETS:
        return _of_budget(name, interval, word)
    match word:
        case "better":
            return f"The whole interval is on the good side of zero; the least it can be is {worst}."
        case "worse":
            return f"The whole interval is on the bad side of zero: {_span(name, interval)}."
        case "no worse":
            margin = _end(name, MARGINS.get(name, 0.0)).lstrip("+")
            return f"No improvement is proven, but at worst it is {worst}, within the margin of {margin}."
    if interval.n < MIN_PAIRS:
        return f"Only {interval.n} answers could be compared, and a verdict takes at least {MIN_PAIRS}."
    if not card.honest or card.test_documents < MIN_TALKS:
        return "The held-out split cannot carry a verdict: at least two must be held out whole."
    if interval.low <= 0 <= interval.high:
        return f"The interval {_span(name, interval)} includes zero, and is too wide for 'no worse'."
    return "The interval leaves it open, or it does not hold among answers of similar length."


def missing(evidence: Evidence) -> Iterator[str]:
    """One line per part of the page that has no numbers: why, and what to set."""
    card, names = evidence.scorecard, {candidate.name for candidate in evidence.scorecard.candidates}
    if card.version < 2:
        yield f"The scorecard has format {card.version}, from before judge, phrases and decision; score the run again."
    if "base-prompted" not in names:
        yield "The base was not also prompted with examples of the style; set evaluate.prompted_base: true."
    if not {"format_gap_closed", "style_gap_closed_teacher"} & card.differences.keys():
        yield "No gap of form or style: too few words, or the base is as close already; see evaluate.metrics."
    if not {"instructions", "choices", "off_topic"} & card.differences.keys():
        yield "Forgetting was not measured; set evaluate.suites: true."
    if card.judge is None and not any("evaluate.judge" in note for note in card.notes):
        yield "No judge compared the answers; set evaluate.judge to a model of another family than the teacher."
    if not evidence.people:
        yield f"No person has compared the answers blind yet; run understudy compare {card.channel}/{card.run}."


def _of_budget(name: str, interval: Interval, word: Word) -> str:
    budget = BUDGETS[name]
    allowed = f"{budget:g} nats per token" if label(name).unit == "nats" else f"{100 * budget:g} points"
    if name == "kl_general" and word == "not enough data" and interval.n >= MIN_PAIRS and interval.low > budget:
        return f"More than the {allowed} that are allowed, but this base knows nothing that could be forgotten."
    return {
        "worse": f"Even the low end of the interval is above the {allowed} that are allowed.",
        "no worse": f"The whole interval is within the {allowed} that are allowed.",
    }.get(word, f"The interval {_span(name, interval)} extends past the {allowed} that are allowed.")


def _worst(name: str, interval: Interval) -> float:
    """The end of the interval that is nearer to harm."""
    lower_is_better = name.startswith(("nll", "kl", "broken", "copied", "perplexity"))
    return interval.high if lower_is_better else interval.low


def _span(name: str, interval: Interval) -> str:
    return f"{signed(name, interval.low)} to {_end(name, interval.high)}"


def _end(name: str, value: float) -> str:
    return f"{signed(name, value)}{UNITS[label(name).unit]}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
