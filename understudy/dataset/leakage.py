"""
What two splits have in common: talks, near-duplicate questions, and the words of the answers.

A talk or a near-duplicate question in two splits is a fault. Eight words in a row are
not always one: a teacher says the same sentence in many talks, so such phrases are counted apart.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from understudy.records import Leakage, Pair, Split
from understudy.text import symbols
from understudy.text.similarity import near_duplicates
from understudy.text.words import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAM_WORDS = 8
STOCK_TALKS = 3
EXAMPLES = 5

Links = Sequence[tuple[int, int]]


class Alike:
    """Which questions are near-duplicates of which: `near_duplicates` with its repeated questions written out.

    A question repeated word for word is linked to the first of its kind only, which speaks for it everywhere else.
    Where the first one is taken away, the others are still near-duplicates of all that it was one of.
    """

    def __init__(self, questions: Sequence[str], links: Links) -> None:
        self.spokesman = _spokesmen(questions, links)
        self._near: dict[int, set[int]] = {}
        for a, b in links:
            one, other = self.spokesman[a], self.spokesman[b]
            if one != other:
                self._near.setdefault(one, set()).add(other)
                self._near.setdefault(other, set()).add(one)

    def kinds(self, question: int) -> list[int]:
        """The spokesmen of all that is like question number `question`: its own first, then in order."""
        own = self.spokesman[question]
        return [own, *sorted(self._near.get(own, ()))]


class _Grams(NamedTuple):
    """Every run of GRAM_WORDS words: its digest, the answer it is in, and the word of that answer it starts at."""

    digests: "NDArray[np.uint64]"
    answers: "NDArray[np.int64]"
    starts: "NDArray[np.int64]"


def measure(kept: Sequence[Pair], splits: Mapping[str, Split], alike: Alike) -> Leakage:
    """What valid and test have in common with train; pairs in no split are left out. Linear in the words."""
    rows = [at for at, pair in enumerate(kept) if pair.pair_id in splits]
    split = {at: splits[kept[at].pair_id] for at in rows}
    trained = {name for at in rows if split[at] == "train" for name in kept[at].documents}
    sharing = sum(split[at] != "train" and not trained.isdisjoint(kept[at].documents) for at in rows)
    read = {name for at in rows if split[at] == "train" for name in kept[at].passages}
    shown = sum(split[at] != "train" and not read.isdisjoint(kept[at].passages) for at in rows)
    where: dict[int, set[Split]] = {}
    for at in rows:
        where.setdefault(alike.spokesman[at], set()).add(split[at])
    twins = sum(
        split[at] != "train" and any(where.get(kind, set()) - {split[at]} for kind in alike.kinds(at)) for at in rows
    )
    shared, stock, examples = shared_words([kept[at] for at in rows], [split[at] != "train" for at in rows])
    why = []
    if sharing:
        why.append(f"{sharing} held-out questions come from talks that are trained on: too few independent talks")
    if shown:
        why.append(f"{shown} held-out questions come with passages that are also trained on")
    if twins:
        why.append(
            f"{twins} held-out questions became near-duplicates after they were held out, and stay where they are"
        )
    if shared:
        why.append(
            f"{shared} held-out answers have {GRAM_WORDS} words in a row in common with train, "
            f"{stock} of them only phrases in {STOCK_TALKS} or more talks"
        )
    return Leakage(
        rows_sharing_a_document=sharing,
        near_duplicate_questions=twins,
        rows_sharing_a_passage=shown,
        rows_sharing_words=shared,
        rows_sharing_only_stock_phrases=stock,
        shared_words=examples,
        explained="; ".join(why) or None,
    )


def shared_words(pairs: Sequence[Pair], held_out: Sequence[bool]) -> tuple[int, int, list[str]]:
    """(held-out answers with 8 words in a row of a trained one, those with stock phrases only, up to 5 examples)."""
    if all(held_out) or not any(held_out):
        return 0, 0, []
    import numpy as np

    held = np.array(held_out)
    grams = _grams([pair.answer for pair in pairs])
    of_held = held[grams.answers]
    both = _common(grams.digests, of_held)
    if not len(both):
        return 0, 0, []
    at = np.flatnonzero(_among(grams.digests, both))
    number = {name: index for index, name in enumerate(dict.fromkeys(pair.document_id for pair in pairs))}
    talk = np.array([number[pair.document_id] for pair in pairs])[grams.answers[at]]
    gram = np.searchsorted(both, grams.digests[at])
    once = np.unique(gram * len(number) + talk)
    is_stock = (np.bincount(once // len(number), minlength=len(both)) >= STOCK_TALKS)[gram]
    rows = np.unique(grams.answers[at[of_held[at]]])
    telling = np.unique(grams.answers[at[of_held[at] & ~is_stock]])
    # What only two talks share means more than a greeting, so it is shown first.
    shown = np.concatenate([telling[:EXAMPLES], np.setdiff1d(rows, telling)[:EXAMPLES]])[:EXAMPLES]
    return len(rows), len(rows) - len(telling), _examples(pairs, held, grams, at, is_stock, [int(row) for row in shown])


def _spokesmen(questions: Sequence[str], links: Links) -> list[int]:
    """For each question the first one that is word for word the same, as `near_duplicates` takes words."""
    degree: dict[int, int] = {}
    for link in links:
        for end in link:
            degree[end] = degree.get(end, 0) + 1
    spokesmen = list(range(len(questions)))
    for earlier, later in links:
        # Only a repeated question has this one link and no other, whatever else its kind is like.
        if degree[later] == 1 and _same(questions[earlier], questions[later]):
            spokesmen[later] = spokesmen[earlier]
    return spokesmen


def _same(a: str, b: str) -> bool:
    """True for the same words; also for synonyms and slips, which a threshold of 1 forgives."""
    return symbols.split(a) == symbols.split(b) or any(near_duplicates([a, b], 1.0))


def _grams(answers: Sequence[str]) -> _Grams:
    import numpy as np

    known: dict[str, int] = {}
    lengths, ids = [], array("I")
    for answer in answers:
        spoken = words(answer)
        lengths.append(len(spoken))
        ids.extend([known.setdefault(word, len(known)) for word in spoken])
    of = np.repeat(np.arange(len(answers)), lengths)
    start = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    count = max(0, len(ids) - GRAM_WORDS + 1)
    # One random number per word, then a polynomial over them: in 64 bits, 15 million runs meet once in 100,000 times.
    word = np.random.default_rng(0).integers(1, 2**63, size=max(1, len(known)), dtype=np.uint64)[np.array(ids, np.intp)]
    digests = np.zeros(count, np.uint64)
    for at in range(GRAM_WORDS):
        digests = digests * np.uint64(0x9E3779B97F4A7C15) + word[at : at + count]
    whole = of[:count] == of[GRAM_WORDS - 1 :][:count]
    return _Grams(digests[whole], of[:count][whole], start[:count][whole])


def _common(digests: "NDArray[np.uint64]", held: "NDArray[np.bool_]") -> "NDArray[np.uint64]":
    """The digests on both splits, in order."""
    import numpy as np

    wanted, trained = np.unique(digests[held]), digests[~held]
    return np.intersect1d(wanted, trained[_among(trained, wanted)])


def _among(digests: "NDArray[np.uint64]", wanted: "NDArray[np.uint64]") -> "NDArray[np.bool_]":
    """For each digest whether it is one of `wanted`, which are in order."""
    import numpy as np

    # The first bits alone rule out nearly all, at a fraction of the price of a search.
    bits = np.uint64(40)
    table = np.zeros(1 << 24, bool)
    table[wanted >> bits] = True
    maybe = np.flatnonzero(table[digests >> bits])
    at = np.searchsorted(wanted, digests[maybe])
    among = np.zeros(len(digests), bool)
    among[maybe] = wanted[np.minimum(at, len(wanted) - 1)] == digests[maybe] if len(wanted) else False
    return among


def _examples(
    pairs: Sequence[Pair],
    held: "NDArray[np.bool_]",
    grams: _Grams,
    at: "NDArray[np.int64]",
    is_stock: "NDArray[np.bool_]",
    rows: list[int],
) -> list[str]:
    """The first phrase of each of `rows`, one that is no stock phrase where it has one, and an answer that has it."""
    import numpy as np

    examples = []
    for row in rows:
        mine = np.flatnonzero(grams.answers[at] == row)
        mine = mine[np.argsort(is_stock[mine], kind="stable")]
        first = at[mine[0]]
        same = at[(grams.digests[at] == grams.digests[first]) & ~held[grams.answers[at]]]
        start = int(grams.starts[first])
        phrase = " ".join(words(pairs[row].answer)[start : start + GRAM_WORDS])
        examples.append(f"{phrase!r} in {pairs[row].pair_id} and {pairs[int(grams.answers[same[0]])].pair_id}")
    return examples
