"""
The scorecard as a page to read: `page` has the page and the short version, `charts` the drawings.

Here are the words and number formats all of them share.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from understudy.records import Interval, Scorecard

Unit = Literal["nats", "share", "words", "number"]


@dataclass(frozen=True)
class Label:
    """How a metric is called on the page."""

    text: str
    unit: Unit


LABELS = {
    "nll_per_token": Label("Loss on the reference answers", "nats"),
    "perplexity": Label("Perplexity", "number"),
    "well_formatted": Label("Well-formatted answers", "share"),
    "with_bold": Label("with bold terms", "share"),
    "with_paragraphs": Label("with two or more paragraphs", "share"),
    "with_list": Label("with a list", "share"),
    "words": Label("Words per answer", "words"),
    "broken": Label("Broken answers", "share"),
    "empty": Label("empty", "share"),
    "ran_out": Label("did not end by themselves", "share"),
    "loops": Label("repeat themselves", "share"),
    "token_leak": Label("leak control tokens", "share"),
    "too_short": Label("far too short", "share"),
}

HOP_LIMITS = {"fused": 0.01, "F16": 0.02, "Q8_0": 0.02, "Q6_K": 0.02}
"""Nats per token a file may stray from the one it was made of; other quantizations get OTHER_LIMIT."""
OTHER_LIMIT = 0.05


def label(name: str) -> Label:
    """The label of a metric; one this table does not know is shown by its name, as a plain number."""
    return LABELS.get(name, Label(name.replace("_", " "), "number"))


def number(name: str, value: float) -> str:
    """One value in its unit, e.g. '2.31', '87 %', '142'."""
    match label(name).unit:
        case "share":
            return f"{100 * value:.0f} %"
        case "words":
            return f"{value:.0f}"
        case "nats":
            return f"{value:.3f}"
    return f"{value:,.4g}" if math.isfinite(value) else "∞"


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
    unit = {"nats": " nats per token", "share": " points", "words": " words", "number": ""}[label(name).unit]
    return f"{signed(name, interval.value)}{unit} ({signed(name, interval.low)} to {signed(name, interval.high)})"


def size(count: int | None) -> str:
    """Bytes in the largest decimal unit that keeps a digit before the point, as file managers show them."""
    if count is None:
        return ""
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_in_it:
            return f"{count / bytes_in_it:.{1 if count < 100 * bytes_in_it else 0}f} {unit}"
    return f"{count} bytes"


@dataclass(frozen=True)
class Hop:
    """One file on the way from the adapter to the smallest quantization."""

    name: str
    nll: Interval
    made_of: str | None
    change: float | None
    """Nats per token more than the file it was made of, over the same answers."""
    limit: float | None
    bytes: int | None
    tokens_per_second: float | None


def hops(scorecard: Scorecard) -> Iterator[Hop]:
    """Adapter, fused, F16 and every quantization, each against what it was made of."""
    scored = {c.name: c for c in scorecard.candidates if "nll_per_token" in c.metrics}
    for name, candidate in scored.items():
        if name == "base":
            continue
        parent = {"adapter": None, "fused": "adapter", "F16": "fused"}.get(name, "F16")
        parent = parent if parent in scored else None
        nll = candidate.metrics["nll_per_token"]
        change = nll.value - scored[parent].metrics["nll_per_token"].value if parent else None
        limit = HOP_LIMITS.get(name, OTHER_LIMIT) if parent else None
        yield Hop(name, nll, parent, change, limit, candidate.bytes, candidate.tokens_per_second)
