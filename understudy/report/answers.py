"""
Answers side by side: where the loss fell most, where it fell least, and some drawn at random; and three to see first.

With the names hidden the columns are called A, B, C in an order of their own for each question. A style sheet does
all of it, so the page needs no script: the columns are written in the hidden order and sorted only for show.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from understudy.records import Pair, Sample, sha256_of
from understudy.report import candidate

COLUMNS = ("base", "base-prompted", "adapter")
A_GROUP = 4
"""Questions that are shown of each kind."""
FIRST_CHARACTERS, ANSWER_CHARACTERS = 900, 6_000
"""What is shown of an answer at once, and at all."""
FIRST_SEEN_CHARACTERS = 600
"""The same above the numbers."""


class Column(NamedTuple):
    """One answer to a question."""

    place: int
    """Where it stands while the names are shown."""
    name: str
    cut: bool
    """Whether it ended at the limit, not by itself."""
    first: Markup
    """What is shown at once."""
    rest: Markup
    """What is folded; '' where all of it is shown."""
    more_words: int


class Shown(NamedTuple):
    """One question with its answers, in the order of the hidden names."""

    pair_id: str
    question: str
    fall: float
    """Nats per token by which tuning lowered the loss."""
    columns: list[Column]

    @property
    def change(self) -> str:
        """The change of the loss, with a real minus."""
        return f"{-self.fall:+.3f}".replace("-", "−")


def groups(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair], seed: str) -> dict[str, list[Shown]]:
    """Title > questions, none of them twice; {} when base and tuned answered none in common."""
    answered = sorted(_answered(samples, pairs), key=lambda one: -one.fall)
    if not answered:
        return {}
    each = min(A_GROUP, -(-len(answered) // 3))
    most, least = answered[:each], answered[each:][-each:]
    rest = answered[each : len(answered) - len(least)]
    drawn = sorted(sorted(rest, key=lambda one: _digest(seed, one.pair.pair_id))[:each], key=lambda one: -one.fall)
    titled = {"Where the loss fell most": most, "Drawn at random": drawn, "Where the loss fell least": least}
    return {title: [_shown(one, seed) for one in group] for title, group in titled.items() if group}


class Answered(NamedTuple):
    """A held-out question that base and tuned answered."""

    pair: Pair
    fall: float
    """Nats per token by which tuning lowered the loss."""
    samples: dict[str, Sample]

    @property
    def texts(self) -> list[tuple[str, str, bool]]:
        """(whose, answer, whether it was cut at the limit) of teacher, base and tuned."""
        of = [(name, self.samples[key]) for name, key in (("base", "base"), ("tuned", "adapter"))]
        return [("teacher", self.pair.answer, False), *((name, s.text or "", s.stopped is False) for name, s in of)]


def first(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair]) -> dict[str, Answered]:
    """Title > a question to see before any number, picked by a rule: a typical one, the best and the worst."""
    answered = sorted(_answered(samples, pairs), key=lambda one: one.fall)
    if not answered:
        return {}
    places = {"A typical question": len(answered) // 2, "Where training helped most": -1, "Where it helped least": 0}
    by_question: dict[str, str] = {}
    for title, place in places.items():
        by_question.setdefault(answered[place].pair.pair_id, title)
    return {
        title: next(one for one in answered if one.pair.pair_id == pair_id) for pair_id, title in by_question.items()
    }


def side_by_side(one: Answered) -> list["Column"]:
    """Teacher, base and tuned, each cut where it is long."""
    return [_column(place, *text, FIRST_SEEN_CHARACTERS) for place, text in enumerate(one.texts)]


def _answered(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair]) -> Iterator[Answered]:
    by_pair = {name: {s.pair_id: s for s in samples.get(name, ()) if s.text is not None} for name in COLUMNS}
    for pair in pairs:
        of_pair = {name: sample for name in COLUMNS if (sample := by_pair[name].get(pair.pair_id))}
        if "base" in of_pair and "adapter" in of_pair:
            base, tuned = of_pair["base"], of_pair["adapter"]
            yield Answered(pair, (base.nll - tuned.nll) / tuned.tokens, of_pair)


def _shown(one: Answered, seed: str) -> Shown:
    texts = [(candidate(name), s.text or "", s.stopped is False) for name, s in one.samples.items()]
    texts.append(("reference", one.pair.answer, False))
    columns = [_column(place, *text) for place, text in enumerate(texts)]
    columns.sort(key=lambda column: _digest(seed, one.pair.pair_id, column.name))
    return Shown(one.pair.pair_id, one.pair.question, one.fall, columns)


def _column(place: int, name: str, answer: str, cut: bool, at_once: int = FIRST_CHARACTERS) -> Column:
    first, rest = _parts(answer, at_once) if answer.strip() else ("", "")
    shown = rest[:ANSWER_CHARACTERS] + (" …" if len(rest) > ANSWER_CHARACTERS else "")
    return Column(place, name, cut, _bold(first), _bold(shown), len(rest.split()))


def _parts(answer: str, at_once: int) -> tuple[str, str]:
    """What is shown at once, whole words of it, and the rest."""
    if len(answer) <= at_once + 200:
        return answer, ""
    at = max(answer.rfind(" ", 0, at_once), answer.rfind("\n", 0, at_once))
    at = at if at > at_once // 2 else at_once
    return answer[:at].rstrip(), answer[at:].lstrip()


def _bold(answer: str) -> Markup:
    """The answer with bold as bold; the rest of its markdown stays as it was written."""
    return Markup(re.sub(r"\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*", r"<strong>\1</strong>", str(escape(answer))))


def _digest(*parts: str) -> str:
    return sha256_of("\n".join(parts).encode())
