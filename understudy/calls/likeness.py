"""
Which answer belongs to which question, by what they say.

The number of an answer is the model's claim, and models miscount: from 0, one skipped and counted on, two merged, a
repair numbered from 1, a list rotated. So every reply is weighed: how much better does each answer fit the question of
its number than it fits the others, if the words of a question occur in most answers to it (`OCCURS`) and in other texts
of the talk as often as they do? The ways a list slips are the hypotheses, what is left of the probability decides.

An answer that belongs where its number says is kept, one that surely belongs elsewhere is moved, and one that may
belong to several is dropped and asked for again. With numbers that fit, a slip has to be likely to be believed;
with numbers that do not fit, every answer has to be sure.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from understudy.text.similarity import stem
from understudy.text.words import words

OCCURS = 0.6
"""How often a word of a question is in the answer to it."""
SURE = 0.98
"""Probability from which an answer of a suspect reply is kept, under its number or another."""
HONEST = 0.97
"""Probability that a reply whose numbers fit is in order, before it is read."""
DOUBTED = 0.2
"""Below this probability of being in place, an answer is dropped although all numbers fit."""
STRAY_NATS = 2.5
"""How unlikely an entry is that answers none of the questions, or one that another entry answers."""
CONVINCING_NATS = 1.0
"""Evidence per entry that a list whose numbers fit is out of order."""
ORDERED_NATS = 2.5
"""Evidence per entry of the best order, from which a list in quite another one is taken for shuffled."""
WORDS_OF_A_MARK = 2
MERGED_NATS = 3.0
"""Evidence from which a text may hold a second answer."""
BETTER_NATS = 1.4
"""How much better than its own an entry of a cut reply may fit a question whose answer is still missing."""
FEW, FEW_NATS = 3, 0.5
"""Of a reply that was cut after fewer entries, each has to fit its question for itself."""
WORSE_NATS = 0.5
"""How much worse than its own number an entry may fit the one that the whole list moves it to."""
MOST_NATS_PER_WORD = 2.5
STEM_LETTERS = 6
RUN_WORDS, LEAST_RUNS, ALIKE = 4, 20, 0.75
"""Two texts say the same when three quarters of the shorter one's runs of four words, and twenty, are in the other."""
MOST_SLIP = 3

Way = tuple[int | None, ...]
"""For each entry the number of the question that it answers, None for none of them."""


class Claim(NamedTuple):
    """One entry of a reply: the number it names, its text, and the question it says it answers, if it says one."""

    number: int
    text: str
    question: str | None = None


class Placed(NamedTuple):
    """The texts that are sure, by question number; how many of them were moved, and how many were dropped."""

    texts: dict[int, str]
    moved: int
    dropped: int


@dataclass(frozen=True)
class Asked:
    """What a reply answers: the questions asked for by number, and what else of the talk shows how rare a word is."""

    questions: Mapping[int, str]
    others: Sequence[str] = ()
    """Further questions of the talk, which an answer may belong to by mistake."""
    passages: Sequence[str] = field(default=(), repr=False)
    """Paragraphs of the talk, and answers already kept."""
    gaps: bool = False
    """Whether a missing number is nothing strange."""


def place(claims: Sequence[Claim], asked: Asked, whole: bool) -> Placed:
    """Each text under the question it answers. `whole`: the reply ended by itself, so nothing should be missing."""
    claims = _without_repeats(claims, asked)
    if not claims:
        return Placed({}, 0, 0)
    fit = _Fit(claims, asked)
    suspect = _suspect(claims, asked, whole)
    if not suspect and fit.in_order():
        return Placed({claim.number: claim.text for claim in claims}, 0, 0)
    chances = _chances(fit, suspect)
    places: dict[int, int | None] = {}
    for row, claim in enumerate(claims):
        number, chance = max(chances[row].items(), key=lambda one: one[1], default=(None, 0.0))
        kept = not suspect and chances[row].get(claim.number, 0.0) >= DOUBTED
        sure = chance >= SURE and number is not None and fit.nats(row, number) >= fit.claimed(row) - WORSE_NATS
        places[row] = number if sure else claim.number if kept else None
    rows = _without_rivals(places, fit)
    cut = not whole and not asked.gaps
    if suspect or cut:
        rows = _unmerged(rows, fit, suspect)
    if cut and len(claims) < min(FEW, len(asked.questions)):
        rows = {number: row for number, row in rows.items() if fit.nats(row, number) >= FEW_NATS}
    moved = sum(claims[row].number != number for number, row in rows.items())
    return Placed({number: claims[row].text for number, row in rows.items()}, moved, len(claims) - len(rows))


def _without_rivals(places: Mapping[int, int | None], fit: "_Fit") -> dict[int, int]:
    """The row of each number; of rows that claim one number, and belong nowhere else, the one that fits best by far."""
    rows: dict[int, int] = {}
    for number in {*places.values()} - {None}:
        rivals = [row for row, place in places.items() if number in (place, place or fit.claims[row].number)]
        if number in fit.numbers and (best := _best_of(fit, rivals, number)) is not None and places[best] == number:
            rows[number] = best
    return rows


def doubtful(texts: Mapping[int, str], asked: Asked) -> set[int]:
    """The numbers whose text, kept under it before, may well be the answer to another question."""
    claims = [Claim(number, text) for number, text in sorted(texts.items())]
    placed = place(claims, replace(asked, gaps=True), whole=False)
    return {number for number, text in texts.items() if placed.texts.get(number) != text}


def _unmerged(rows: Mapping[int, int], fit: "_Fit", suspect: bool) -> dict[int, int]:
    """`rows` by number, without those that may hold the answer to a further question, which got none.

    Where nothing is suspect but that the reply was cut, without those that fit such a question better than their own.
    """
    left = [number for number in fit.numbers if number not in rows]

    def merged(row: int, number: int) -> bool:
        least = MERGED_NATS if suspect else fit.nats(row, number) + BETTER_NATS
        return any(fit.nats(row, other) >= least for other in left)

    return {number: row for number, row in rows.items() if not merged(row, number)}


def _without_repeats(claims: Sequence[Claim], asked: Asked) -> list[Claim]:
    """One claim for each text: of those that are the same, or hold most of each other, the one that fits best by far.

    Where none fits its number best by far, none is kept.
    """
    claims = list(dict.fromkeys(claims))
    groups = _alike([claim.text for claim in claims])
    if len(groups) == len(claims):
        return claims
    fit, kept = _Fit(claims, asked), list[Claim]()
    for rows in groups:
        if len(rows) == 1 or len(claims[rows[0]].text.split()) <= WORDS_OF_A_MARK:
            kept += [claims[row] for row in rows]  # a word that means 'nothing to say' may come often
        elif (best := _best_of(fit, rows)) is not None:
            kept.append(claims[best])
    return sorted(kept, key=claims.index)


def _best_of(fit: "_Fit", rows: Sequence[int], number: int | None = None) -> int | None:
    """Of some rows the one that fits `number`, or its own, best by far."""
    named = [(row, number or fit.claims[row].number) for row in rows]
    scores = sorted(((fit.nats(row, one), row) for row, one in named if one in fit.numbers), reverse=True)
    if not scores or (len(scores) > 1 and scores[0][0] - scores[1][0] < math.log(SURE / (1 - SURE))):
        return None
    return scores[0][1]


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    parts = text.split()
    return frozenset(zip(*(parts[at:] for at in range(RUN_WORDS)), strict=False))


def _alike(texts: Sequence[str]) -> list[list[int]]:
    """The rows in groups of texts that are equal or share most runs of words."""
    runs = [_runs(text) for text in texts]

    def same(row: int, other: int) -> bool:
        least = min(len(runs[row]), len(runs[other]))
        return texts[row] == texts[other] or (least >= LEAST_RUNS and len(runs[row] & runs[other]) >= ALIKE * least)

    groups: list[list[int]] = []
    for row in range(len(texts)):
        group = next((group for group in groups if same(row, group[0])), None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return groups


def _suspect(claims: Sequence[Claim], asked: Asked, whole: bool) -> bool:
    """Whether numbers or echoes do not fit what was asked for, so that no number can be believed."""
    numbers = Counter(claim.number for claim in claims)
    if max(numbers.values()) > 1 or not numbers.keys() <= asked.questions.keys():
        return True
    # A reply that was cut lacks the end of the list, and nothing before that.
    due = [number for number in asked.questions if whole or number < max(numbers)]
    if not asked.gaps and not numbers.keys() >= {*due}:
        return True
    echoes = [(claim.number, claim.question) for claim in claims if claim.question]
    return any(names(question, number, asked.questions) is False for number, question in echoes)


def names(echo: str | None, number: int, questions: Mapping[int, str]) -> bool | None:
    """Whether an echo, which may be only the first words, is question `number`; None where nothing was echoed."""
    left = words(echo or "")
    if not left:
        return None
    shared = {n: len({*left} & {*words(question)[: len(left) + 1]}) for n, question in questions.items()}
    best = max(shared.values(), default=0)
    return shared.get(number) == best and best * 2 > len({*left})


class _Fit:
    """For each claim and question, how much likelier the text is as the answer to it than as any text of the talk."""

    def __init__(self, claims: Sequence[Claim], asked: Asked) -> None:
        self.claims, self.numbers = claims, sorted(asked.questions)
        self._texts = [_keys(claim.text) for claim in claims]
        background = [*self._texts, *map(_keys, asked.passages)]
        self._questions = {number: _keys(question) for number, question in asked.questions.items()}
        self._others = [_keys(question) for question in asked.others]
        questions = [*self._questions.values(), *self._others]
        in_texts = Counter(key for text in background for key in text)
        in_questions = Counter(key for question in questions for key in question)
        self._weights = {
            key: _weight((in_texts[key] + 0.5) / (len(background) + 1), _telling(count, len(questions)))
            for key, count in in_questions.items()
        }
        self._nats: dict[tuple[int, int], float] = {}

    def nats(self, row: int, number: int) -> float:
        """The evidence that claim `row` answers question `number`; 0 is none."""
        if (row, number) not in self._nats:
            self._nats[row, number] = self._evidence(self._texts[row], self._questions[number])
        return self._nats[row, number]

    def claimed(self, row: int) -> float:
        """The evidence for the number that it names; nothing speaks for one that was not asked for."""
        number = self.claims[row].number
        return self.nats(row, number) if number in self.numbers else -math.inf

    def elsewhere(self, row: int) -> float:
        """The evidence that it answers a question of the talk that was not asked for, or none."""
        return max((0.0, *(self._evidence(self._texts[row], keys) for keys in self._others)))

    def anywhere(self, row: int) -> float:
        """The evidence that it answers one of the questions, whichever."""
        return math.log(sum(math.exp(self.nats(row, number)) for number in self.numbers) / len(self.numbers))

    def in_order(self) -> bool:
        """True when every text fits no question better than its own: nothing is left to weigh."""
        return all(
            self.nats(row, claim.number) >= self.nats(row, number)
            for row, claim in enumerate(self.claims)
            for number in self.numbers
        )

    def _evidence(self, text: frozenset[str], question: frozenset[str]) -> float:
        return sum(self._weights[key][key in text] for key in question)


def _keys(text: str) -> frozenset[str]:
    """What words are compared by: their beginnings, for endings differ between a question and its answer."""
    return frozenset(stem(word)[:STEM_LETTERS] for word in words(text))


def _weight(share: float, telling: float) -> tuple[float, float]:
    """(evidence of a word that is missing, of one that is there), for a word in `share` of all texts; on average 0.

    `telling` goes from 0, for a word that all questions have, to 1.
    """
    if share >= OCCURS:
        return 0.0, 0.0
    missing, there = math.log((1 - OCCURS) / (1 - share)), min(MOST_NATS_PER_WORD, math.log(OCCURS / share))
    mean = share * there + (1 - share) * missing
    return telling * (missing - mean), telling * (there - mean)


def _telling(count: int, questions: int) -> float:
    """How much a word of `count` questions tells them apart: what and why, know and explain tell nothing."""
    return 1.0 if questions < 2 else 1 - math.log(count) / math.log(questions)


def _chances(fit: _Fit, suspect: bool) -> list[dict[int, float]]:
    """For each claim, the probability of each question it may belong to; what is missing to 1 is 'none of them'."""
    in_order = 0.5 if suspect else HONEST
    own = tuple(claim.number if claim.number in fit.numbers else None for claim in fit.claims)
    scored = [(math.log(in_order) + _total(fit, own), own)]
    for share, family in ((0.4, _slips(fit)), (0.2, _turns(fit))):
        ways = [way for way in dict.fromkeys(family) if way != own and (suspect or _convincing(fit, own, way))]
        prior = math.log((1 - in_order) * share / max(1, len(ways)))
        scored += [(prior - STRAY_NATS * (len(way) - len({*way} - {None})) + _total(fit, way), way) for way in ways]
    best = _best(fit)
    for start in range(len(own) if suspect or _total(fit, best) >= ORDERED_NATS * len(own) else 0):
        # From some entry on in no order that is known: each fits any question as well as chance lets it.
        way = (*own[:start], *(None for _ in own[start:]))
        chance = _total(fit, own[:start]) + sum(map(fit.anywhere, range(start, len(own))))
        scored.append((math.log((1 - in_order) * 0.2 / len(own)) + chance, way))
    for way in filter(lambda way: suspect or _convincing(fit, own, way), _exchanges(best, own)):
        # The best of so many orders fits well by chance: each entry out of place could have gone to any other.
        moves = sum(one != other for one, other in zip(way, own, strict=True))
        scored.append((math.log((1 - in_order) * 0.2) - moves * math.log(len(own) + 1) + _total(fit, way), way))
    top = max(score for score, _ in scored)
    weights = [(math.exp(score - top), way) for score, way in scored]
    total = sum(weight for weight, _ in weights)
    chances: list[dict[int, float]] = [{} for _ in fit.claims]
    for weight, way in weights:
        for row, number in enumerate(way):
            if number is not None:
                chances[row][number] = chances[row].get(number, 0.0) + weight / total
    return chances


def _convincing(fit: _Fit, own: Way, way: Way) -> bool:
    """Whether what is moved fits well where it comes to, and not only better: unlike any question are many answers."""
    moved = [row for row, number in enumerate(way) if number != own[row]]
    return (
        bool(moved)
        and _total(fit, way) - _total(fit, own) >= 0
        and sum(fit.elsewhere(row) if (number := way[row]) is None else fit.nats(row, number) for row in moved)
        >= CONVINCING_NATS * len(moved)
    )


def _total(fit: _Fit, way: Way) -> float:
    return sum(fit.elsewhere(row) if number is None else fit.nats(row, number) for row, number in enumerate(way))


def _slips(fit: _Fit) -> Iterator[Way]:
    """The list from some entry on a few places off, by the numbers named or by the order of the entries."""
    rank = {number: at for at, number in enumerate(fit.numbers)}
    first = fit.claims[0].number
    for places in (
        [rank.get(claim.number) for claim in fit.claims],
        list(range(len(fit.claims))),
        [claim.number - first for claim in fit.claims],  # counted from another number than was asked for
    ):
        for start in range(len(places)):
            for slip in range(-MOST_SLIP, MOST_SLIP + 1):
                yield tuple(_at(fit, p if p is None or i < start else p + slip) for i, p in enumerate(places))


def _turns(fit: _Fit) -> Iterator[Way]:
    """All numbers, turned round by some places."""
    rank = {number: at for at, number in enumerate(fit.numbers)}
    if all(claim.number in rank for claim in fit.claims):
        for turn in range(1, len(fit.numbers)):
            yield tuple(fit.numbers[(rank[claim.number] + turn) % len(rank)] for claim in fit.claims)


def _exchanges(best: Way, own: Way) -> Iterator[Way]:
    """What fits best, as the smallest sets of entries that can have changed their places, and as a whole."""
    yield best
    row_of = {number: row for row, number in enumerate(own) if number is not None}
    done: set[int] = set()
    for start in range(len(own)):
        moved, row = list[int](), start
        while row not in done and best[row] != own[row]:
            done.add(row)
            moved.append(row)
            number = best[row]
            if number is None or number not in row_of:
                break
            row = row_of[number]
        if moved:
            yield tuple(best[at] if at in moved else number for at, number in enumerate(own))


def _best(fit: _Fit) -> Way:
    """The assignment that fits best, the surest pair first."""
    pairs = sorted(
        ((fit.nats(row, number), row, number) for row in range(len(fit.claims)) for number in fit.numbers),
        key=lambda one: -one[0],
    )
    result: list[int | None] = [None] * len(fit.claims)
    taken: set[int] = set()
    for nats, row, number in pairs:
        if result[row] is None and number not in taken and nats > 0:
            result[row] = number
            taken.add(number)
    return tuple(result)


def _at(fit: _Fit, place: int | None) -> int | None:
    return fit.numbers[place] if place is not None and 0 <= place < len(fit.numbers) else None
