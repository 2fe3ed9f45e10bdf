"""
The scorecard as a page to read.

    page            report.html: the order of its sections
    short           the same in short as markdown, plain for cards and with pictures for the Prefect UI
    outcome         how the run ended, for a person: a sentence and what to do next
    findings        each number for a person: what it means, and how sure it is
    words           what each verdict means, in one sentence, for specialists
    tables, answers what the sections hold, as data
    rendering       the templates, which draw and escape it
    charts, shapes  their charts, drawn by `drawing`
    evidence        everything the page is made of, as arguments or read from a run's folder
    compare_runs    two scorecards side by side
    training, parity_table   the pages of a training and of the exported files

Here are the labels and number formats all of them share.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from understudy.records import Interval

Unit = Literal["nats", "share", "words", "number"]
UNITS: dict[Unit, str] = {"nats": " nats per token", "share": " points", "words": " words", "number": ""}
"""What follows a difference in each."""


@dataclass(frozen=True)
class Label:
    """How a metric is called on the page."""

    text: str
    unit: Unit


LABELS = {
    "nll_per_token": Label("Loss on the reference answers", "nats"),
    "nll_opening": Label("of the first 20 tokens", "nats"),
    "nll_body": Label("of what follows", "nats"),
    "nll_end": Label("Loss of the end token", "nats"),
    "perplexity": Label("Perplexity", "number"),
    "format_gap_closed": Label("Format gap closed", "share"),
    "format_gap": Label("Gap to the training answers' form", "number"),
    "style_gap_closed_teacher": Label("Style gap closed: teacher", "share"),
    "style_gap_closed_talks": Label("Style gap closed: talks", "share"),
    "delta_teacher": Label("Burrows' Delta to the teacher's answers", "number"),
    "characters_teacher": Label("Character distance to the teacher's answers", "number"),
    "delta_talks": Label("Burrows' Delta to the talks", "number"),
    "characters_talks": Label("Character distance to the talks", "number"),
    "judge_voice": Label("Judge: wins minus losses", "share"),
    "judge_answer": Label("Judge: wins minus losses, manner left out", "share"),
    "well_formatted": Label("Well-formatted answers", "share"),
    "with_bold": Label("with bold terms", "share"),
    "with_paragraphs": Label("with two or more paragraphs", "share"),
    "with_list": Label("with a list", "share"),
    "words": Label("Words per answer", "words"),
    "broken": Label("Broken answers", "share"),
    "empty": Label("empty", "share"),
    "endless": Label("endless: twice as long as the teacher's longest, and no end", "share"),
    "cut": Label("cut at the limit of tokens", "share"),
    "loops": Label("repeat themselves", "share"),
    "token_leak": Label("leak control tokens", "share"),
    "too_short": Label("far too short", "share"),
    "wrong_script": Label("in another script", "share"),
    "wrong_language": Label("in another language", "share"),
    "copied": Label("Answers with copied passages", "share"),
    "instructions": Label("Instructions followed", "share"),
    "choices": Label("Common-knowledge questions", "share"),
    "off_topic": Label("Off-topic prompts answered plainly", "share"),
    "kl_general": Label("Drift, general prompts (KL)", "nats"),
    "kl_domain": Label("Drift, held-out questions (KL)", "nats"),
    "keyword_coverage": Label("Uses the passages it is given", "share"),
    "cites": Label("Names the passage it used", "share"),
    "declines_rightly": Label("Declines what the passages leave open", "share"),
    "right_title": Label("Answers that cite the right text", "share"),
    "citation_precision": Label("of the citations, right ones", "share"),
    "likeness": Label("Likeness in meaning to the reference", "number"),
    "substantive": Label("Answers that say something", "share"),
    "refusal_balance": Label("Tells what its passages answer from what they do not", "share"),
    "over_refusal": Label("Declines what its passages answer", "share"),
    "correct": Label("Answers with what the manual says", "share"),
    "facts_given": Label("of what must be mentioned, mentioned", "share"),
    "seconds": Label("Seconds per answer", "number"),
    "first_token_seconds": Label("Seconds to the first token", "number"),
    "refusal_precision": Label("refusals that were right (precision)", "share"),
    "refusal_recall": Label("refused of what it should refuse (recall)", "share"),
}

LEARNED = (
    "nll_per_token", "format_gap_closed", "style_gap_closed_teacher", "style_gap_closed_talks", "judge_voice",
    "well_formatted", "right_title", "refusal_balance", "correct",
)  # fmt: skip
"""What answers 'did it learn?'; every other verdict answers 'did it break?'."""

CANDIDATES = {
    "base-prompted": "prompted base",
    "base-passages": "base with passages",
    "adapter-passages": "tuned with passages",
    "adapter": "tuned",
    "base": "base",
}
"""What the columns are called on the page; a file is called by its type."""
_NAME = re.compile(rf"\b(?:{'|'.join(name for name in LABELS if '_' in name)})\b")


def label(name: str) -> Label:
    """The label of a metric; one this table does not know is shown by its name, as a plain number."""
    return LABELS.get(name, Label(name.replace("_", " "), "number"))


def candidate(name: str) -> str:
    """How a candidate is called: 'tuned', 'prompted base', 'Q8_0', 'base as Q8_0'."""
    return CANDIDATES.get(name) or (f"base as {name.removeprefix('base-')}" if name.startswith("base-") else name)


def readable(sentence: str) -> str:
    """`sentence` with the names of metrics put as their labels."""
    return _NAME.sub(lambda name: LABELS[name[0]].text[0].lower() + LABELS[name[0]].text[1:], sentence)


def number(name: str, value: float, digits: int = 3) -> str:
    """One value in its unit, e.g. '2.310', '87 %', '142'; nats with so many digits behind the point."""
    match label(name).unit:
        case "share":
            return f"{100 * value:.0f} %"
        case "words":
            return f"{value:.0f}"
        case "nats":
            return f"{value:.{digits}f}"
    return f"{value:,.{digits + 1}g}" if math.isfinite(value) else "∞"


def signed(name: str, value: float) -> str:
    """One difference with its sign, shares in points, a real minus."""
    match label(name).unit:
        case "share":
            text = f"{100 * value:+.0f}"
        case "words":
            text = f"{value:+.0f}"
        case "nats":
            text = f"{value:+.3f}"
        case _:
            text = f"{value:+.4g}"
    return text.replace("-", "−") if text.strip("+-0.") else text.lstrip("+-")


def difference(name: str, interval: Interval) -> str:
    """A difference with its interval and unit, e.g. '−0.412 nats per token (−0.501 to −0.322)'."""
    low, high = signed(name, interval.low), signed(name, interval.high)
    ends = f" ({low} to {high})" if low != high else ""
    return f"{signed(name, interval.value)}{UNITS[label(name).unit]}{ends}"


def with_interval(name: str, interval: Interval | None) -> str:
    """A value with its interval, e.g. '2.310 (2.201 to 2.418)'; '' without one."""
    if interval is None:
        return ""
    low, high = number(name, interval.low), number(name, interval.high)
    return number(name, interval.value) + (f" ({low} to {high})" if low != high else "")


def size(count: int | None) -> str:
    """Bytes in the largest decimal unit that keeps a digit before the point, as file managers show them."""
    if count is None:
        return ""
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_in_it:
            return f"{count / bytes_in_it:.{1 if count < 100 * bytes_in_it else 0}f} {unit}"
    return f"{count} bytes"
