"""
Answers side by side: where the loss fell most, where it fell least, and some drawn at random.

With the names hidden the columns are called A, B, C in an order of their own for each question. A style sheet does
all of it, so the page needs no script: the columns are written in the hidden order and sorted only for show.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from understudy.records import Pair, Sample, sha256_of
from understudy.report import candidate

COLUMNS = ("base", "base-prompted", "adapter")
A_GROUP = 4
"""Questions that are shown of each kind."""
FIRST_CHARACTERS, ANSWER_CHARACTERS = 900, 6_000
"""What is shown of an answer at once, and at all."""


class Shown(NamedTuple):
    """One question with what each column says to it: name, text, and whether it ended by itself."""

    pair: Pair
    fall: float
    """Nats per token by which tuning lowered the loss."""
    columns: list[tuple[str, str, bool | None]]


def groups(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair], seed: str) -> dict[str, list[Shown]]:
    """Title > questions, none of them twice; {} when base and tuned answered none in common."""
    found = sorted(_answered(samples, pairs), key=lambda one: -one.fall)
    if not found:
        return {}
    each = min(A_GROUP, -(-len(found) // 3))
    most, least = found[:each], found[each:][-each:]
    rest = found[each : len(found) - len(least)]
    drawn = sorted(sorted(rest, key=lambda one: _digest(seed, one.pair.pair_id))[:each], key=lambda one: -one.fall)
    titled = {"Where the loss fell most": most, "Drawn at random": drawn, "Where the loss fell least": least}
    return {title: group for title, group in titled.items() if group}


def html(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair], seed: str) -> str:
    """Every group with its answers, and the switch that hides the names; '' without answers."""
    found = groups(samples, pairs, seed)
    if not found:
        return ""
    number, parts = 0, []
    for title, group in found.items():
        parts.append(f'<h3 class="group">{title}</h3>')
        for one in group:
            number += 1
            parts.append(_sample(one, number, seed))
    return (
        '<input type="checkbox" id="blind" class="switch"><label for="blind">Hide the names and shuffle</label>'
        f'<div class="samples">{"".join(parts)}</div>'
    )


def text(answer: str) -> str:
    """Escaped, bold as bold, what is long behind a disclosure; the rest of the markdown stays as it was written."""
    if not answer.strip():
        return '<div class="text soft">(nothing)</div>'
    first, rest = _cut(answer)
    if not rest:
        return f'<div class="text">{_bold(first)}</div>'
    left_out = " …" if len(rest) > ANSWER_CHARACTERS else ""
    more = f'<div class="text">{_bold(rest[:ANSWER_CHARACTERS])}{left_out}</div>'
    count = len(rest.split())
    return f'<div class="text">{_bold(first)} …</div><details><summary>{count:,} more words</summary>{more}</details>'


def _answered(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair]) -> list[Shown]:
    said = {name: {s.pair_id: s for s in samples.get(name, ()) if s.text is not None} for name in COLUMNS}
    found = []
    for pair in pairs:
        base, tuned = said["base"].get(pair.pair_id), said["adapter"].get(pair.pair_id)
        if base is None or tuned is None:
            continue
        columns = [
            (candidate(name), sample.text or "", sample.stopped)
            for name in COLUMNS
            if (sample := said[name].get(pair.pair_id)) is not None
        ]
        fall = (base.nll - tuned.nll) / tuned.tokens
        found.append(Shown(pair, fall, [*columns, ("reference", pair.answer, None)]))
    return found


def _sample(one: Shown, number: int, seed: str) -> str:
    order = sorted(range(len(one.columns)), key=lambda place: _digest(seed, one.pair.pair_id, one.columns[place][0]))
    columns = "".join(_column(*one.columns[place], place, "ABCDE"[slot]) for slot, place in enumerate(order))
    change = f'<span class="soft who">loss {-one.fall:+.3f}</span>'.replace("-", "−", 1)
    return (
        f'<div class="sample"><h4>{escape(one.pair.question)} {change}</h4>'
        f'<input type="checkbox" id="reveal-{number}" class="switch reveal">'
        f'<label for="reveal-{number}" class="revealing">Show the names</label>'
        f'<div class="answers of-{len(one.columns)}">{columns}</div></div>'
    )


def _column(name: str, answer: str, stopped: bool | None, place: int, letter: str) -> str:
    cut = " · cut at the limit" if stopped is False else ""
    return (
        f'<div class="card at-{place}"><h5><span class="letter">{letter}</span>'
        f'<span class="who">{escape(name)}{cut}</span></h5>{text(answer)}</div>'
    )


def _cut(answer: str) -> tuple[str, str]:
    """What is shown at once, whole words of it, and the rest."""
    if len(answer) <= FIRST_CHARACTERS + 200:
        return answer, ""
    at = max(answer.rfind(" ", 0, FIRST_CHARACTERS), answer.rfind("\n", 0, FIRST_CHARACTERS))
    at = at if at > FIRST_CHARACTERS // 2 else FIRST_CHARACTERS
    return answer[:at].rstrip(), answer[at:].lstrip()


def _bold(answer: str) -> str:
    return re.sub(r"\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*", r"<strong>\1</strong>", escape(answer))


def _digest(*parts: str) -> str:
    return sha256_of("\n".join(parts).encode())
