"""
The numbers of a scorecard for somebody who has never trained a model: what each means, from what to what, and how sure.

Nothing here is computed: words and intervals are the scorecard's, and only how they are said is decided.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from understudy.records import Interval, Scorecard, Word
from understudy.report import LEARNED, label, number
from understudy.scoring.verdicts import BUDGETS, MIN_PAIRS

BASE, TUNED = "base", "adapter"
WORDS: dict[Word, str] = {
    "better": "better",
    "no worse": "no worse",
    "worse": "worse",
    "not enough data": "can't tell",
}
"""A verdict as it is said to a person."""


class Meaning(NamedTuple):
    """What a metric is, in plain words."""

    text: str
    better: Literal["lower", "higher"]


MEANINGS = {
    "nll_per_token": Meaning("How surprised it is by the teacher's real answers", "lower"),
    "nll_end": Meaning("Knows when to stop: how surprised it is where the teacher ends", "lower"),
    "format_gap_closed": Meaning("Form: how far it went from its base's to the teacher's", "higher"),
    "style_gap_closed_teacher": Meaning("Choice of words: how far it went from its base's to the teacher's", "higher"),
    "style_gap_closed_talks": Meaning("Choice of words: how far it went towards the talks themselves", "higher"),
    "judge_voice": Meaning("A judge, not knowing which is which: sounds more like the teacher", "higher"),
    "well_formatted": Meaning("Answers in the form that was taught: paragraphs and lists, or prose", "higher"),
    "broken": Meaning("Broken answers: empty, endless, repeating, far too short", "lower"),
    "copied": Meaning("Answers that recite what it was trained on", "lower"),
    "instructions": Meaning("Still follows plain instructions", "higher"),
    "choices": Meaning("Still knows what its base knew", "higher"),
    "off_topic": Meaning("Keeps the teacher's manner out of other topics", "higher"),
    "kl_general": Meaning("How far it moved from its base on everything else", "lower"),
    "keyword_coverage": Meaning("Uses the passages it is given", "higher"),
    "right_title": Meaning("Cites the text that its answer rests on", "higher"),
    "citation_precision": Meaning("What it cites is what it was given", "higher"),
    "likeness": Meaning("Means what the reference means, in whatever words", "higher"),
    "substantive": Meaning("Says something where the passages answer", "higher"),
    "refusal_balance": Meaning("Answers where its passages answer, and declines where they do not", "higher"),
    "over_refusal": Meaning("Declines although its passages answer", "lower"),
    "correct": Meaning("Says by heart what the manual says: its numbers, or its decisive words", "higher"),
    "facts_given": Meaning("How much it says of what must be mentioned", "higher"),
    "cites": Meaning("Names the passage it used", "higher"),
    "declines_rightly": Meaning("Declines what the passages leave open", "higher"),
}


class Finding(NamedTuple):
    """One number for a person."""

    word: Word
    name: str
    hint: str
    """Which way is better; '' where the numbers say it."""
    numbers: str
    """From the base's to the tuned model's."""
    certainty: str
    """What the interval allows, as a sentence without its full stop."""


def findings(card: Scorecard) -> list[Finding]:
    """Everything that has a verdict: what is certain first, and of that what answers 'did it learn?'."""
    return sorted(_findings(card), key=lambda one: one.word == "not enough data")


def _findings(card: Scorecard) -> Iterator[Finding]:
    scored = {one.name: one.metrics for one in card.candidates}
    for name in sorted(card.verdicts, key=lambda name: LEARNED.index(name) if name in LEARNED else len(LEARNED)):
        if name not in card.differences:
            continue
        change, word = card.differences[name], card.verdicts[name]
        meaning = MEANINGS.get(name, Meaning(label(name).text, "higher"))
        before, after = (scored.get(one, {}).get(name) for one in (BASE, TUNED))
        hint = f"{meaning.better} is better" if before and after else ""
        yield Finding(word, meaning.text, hint, _numbers(name, before, after, change), _certainty(name, change, word))


def _numbers(name: str, before: Interval | None, after: Interval | None, change: Interval) -> str:
    if before and after:
        return f"was {_value(name, before.value)}, now {_value(name, after.value)}"
    if "gap_closed" in name:
        return f"{_value(name, change.value)} of the way"
    if name in BUDGETS:
        return f"{_value(name, change.value)}, where {_value(name, BUDGETS[name])} is allowed"
    return f"a difference of {_value(name, change.value)}"


def _certainty(name: str, change: Interval, word: Word) -> str:
    """What the interval allows; of a number with a budget only whether it is kept."""
    if name in BUDGETS:
        return _kept(name, change, word)
    if word == "better" and "gap_closed" in name:
        return f"most likely between {_size(name, change.low)} and {_value(name, change.high)}"
    lower = MEANINGS.get(name, Meaning("", "higher")).better == "lower"
    least, most = (-change.high, -change.low) if lower else (change.low, change.high)
    span = _span(name, least, most)
    match word:
        case "better" | "worse":
            return span
        case "no worse":
            return (
                f"at worst {_with_unit(name, _size(name, least))} worse, too little to matter"
                if least < 0 < most
                else span
            )
    if label(name).unit == "share" and least <= -1 and most >= 1:
        return "far too few questions to tell"
    return f"too few questions to tell: {span}"


def _kept(name: str, change: Interval, word: Word) -> str:
    """Whether a number stays within its budget."""
    if word != "not enough data":
        return f"most likely {'more than' if word == 'worse' else 'within what'} is allowed"
    if name == "kl_general" and change.n >= MIN_PAIRS and change.low > BUDGETS[name]:
        return "more than is allowed, but its base knows nothing that could be forgotten"
    return f"too few questions to tell whether it stays within {_value(name, BUDGETS[name])}"


def _span(name: str, least: float, most: float) -> str:
    """Two gains as words, e.g. 'between 36 points worse and 32 better'; below zero is worse."""
    low, high = _size(name, least), _size(name, most)
    if low == high == _size(name, 0.0):
        return "no difference"
    if least >= 0:
        return f"better by {_with_unit(name, _ends(low, high))}"
    if most <= 0:
        return f"worse by {_with_unit(name, _ends(high, low))}"
    return f"between {_with_unit(name, low)} worse and {high} better"


def _ends(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _size(name: str, gain: float) -> str:
    return _value(name, abs(gain)).removesuffix(" %")


def _with_unit(name: str, number: str) -> str:
    unit = {"share": " point", "words": " word"}.get(label(name).unit, "")
    return f"{number}{unit}{'s' if unit and number != '1' else ''}"


def _value(name: str, value: float) -> str:
    """A number with as many digits as a person needs, and a real minus."""
    return number(name, value, digits=2).replace("-", "−")
