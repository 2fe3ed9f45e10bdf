"""What the scorecard says in words: each verdict with its reason, and what is missing with what to set."""

from collections.abc import Iterator

from understudy.records import Interval, Scorecard, Word
from understudy.report import label, readable, signed
from understudy.report.evidence import Evidence
from understudy.scoring.verdicts import BUDGETS, MARGINS, MIN_PAIRS, MIN_TALKS

DISHONEST = (
    "The held-out questions come from talks that were also trained on, so nothing here shows that anything "
    "was learned. Add talks until whole talks can be held out."
)
ACTIONS = {
    "ship": "Ship it",
    "lower the learning rate": "Lower the learning rate and train again",
    "train longer": "Train longer",
    "take a better base": "Take a better base",
    "more data": "Add more data",
    "bug upstream of training": "Mend a defect outside training first",
}
_UNITS = {"nats": " nats per token", "share": " points", "words": " words", "number": ""}


def basis(card: Scorecard) -> str:
    """What everything was measured on."""
    talks = f"{card.test_documents} talk{'' if card.test_documents == 1 else 's'}"
    return f"Measured on {card.test_pairs} held-out pair{'' if card.test_pairs == 1 else 's'} of {talks}."


def decision(card: Scorecard) -> tuple[str, list[str]]:
    """What to do, and why, one sentence each."""
    if card.decision is None:
        return "No decision", [
            f"This scorecard has format {card.version}, which holds none; score the run again to get one."
        ]
    where = f" ({card.decision.where})" if card.decision.where else ""
    return ACTIONS[card.decision.action] + where, [_sentence(readable(why)) for why in card.decision.reasons]


def why(name: str, interval: Interval, word: Word, card: Scorecard) -> str:
    """The sentence behind one verdict word."""
    worst = _worst(name, interval)
    if name in BUDGETS:
        return _of_budget(name, interval, word)
    match word:
        case "better":
            return (
                f"The whole interval is on the good side of no difference; the least it can be is {_end(name, worst)}."
            )
        case "worse":
            return f"The whole interval is on the bad side of no difference: {_span(name, interval)}."
        case "no worse":
            margin = _end(name, MARGINS.get(name, 0.0)).lstrip("+")
            return f"No improvement is proven, but at worst it is {_end(name, worst)}, and {margin} would still do."
    if interval.n < MIN_PAIRS:
        return f"Only {interval.n} of at least {MIN_PAIRS} answers could be compared."
    if not card.honest or card.test_documents < MIN_TALKS:
        return "The held-out side cannot carry a verdict: whole talks must be held out, at least two."
    if interval.low <= 0 <= interval.high:
        return f"The interval {_span(name, interval)} includes zero, and reaches further than no worse allows."
    return "The interval leaves it open, or it does not hold among answers of about one length."


def missing(told: Evidence) -> Iterator[str]:
    """One line per part of the page that has no numbers: why, and what to set."""
    card, names = told.scorecard, {candidate.name for candidate in told.scorecard.candidates}
    if card.version < 2:
        yield f"The scorecard has format {card.version}, from before judge, phrases and decision; score the run again."
    if "base-prompted" not in names:
        yield "The base was not also told the style by examples; evaluate.prompted_base: true does that."
    if not {"format_gap_closed", "style_gap_closed_teacher"} & card.differences.keys():
        yield "No gap of form or style: too few words, or the base is as near already; see evaluate.metrics."
    if not {"instructions", "choices", "off_topic"} & card.differences.keys():
        yield "Forgetting was not measured; evaluate.suites: true asks for it."
    if card.judge is None and not any("evaluate.judge" in note for note in card.notes):
        yield "No judge compared the answers; evaluate.judge names one, of another family than the teacher."
    if not told.people:
        yield f"Nobody compared the answers blind yet; understudy compare {card.channel}/{card.run} does."


def _of_budget(name: str, interval: Interval, word: Word) -> str:
    budget = BUDGETS[name]
    allowed = f"{budget:g} nats per token" if label(name).unit == "nats" else f"{100 * budget:g} points"
    if name == "kl_general" and word == "not enough data" and interval.n >= MIN_PAIRS and interval.low > budget:
        return f"More than the {allowed} that are allowed, but this base knows nothing that could be forgotten."
    return {
        "worse": f"Even the low end of the interval is above the {allowed} that are allowed.",
        "no worse": f"The whole interval is within the {allowed} that are allowed.",
    }.get(word, f"The interval {_span(name, interval)} reaches over the {allowed} that are allowed.")


def _worst(name: str, interval: Interval) -> float:
    """The end of the interval that is nearer to harm."""
    lower_is_better = name.startswith(("nll", "kl", "broken", "copied", "perplexity"))
    return interval.high if lower_is_better else interval.low


def _span(name: str, interval: Interval) -> str:
    return f"{signed(name, interval.low)} to {_end(name, interval.high)}"


def _end(name: str, value: float) -> str:
    return f"{signed(name, value)}{_UNITS[label(name).unit]}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
