"""
Which passages come with a question: those that answer it, and others of the same split that nearly do.

A passage that does not answer is among the best for its question, so that finding the right one means something. All
choices follow from a digest of seed and name: a new document changes nothing for questions that it is not near to.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from understudy.records import Pair, PairKind, PairSource, Passage, Split, sha256_of
from understudy.retrieval.index import Index, tokens
from understudy.text.citations import without
from understudy.text.keywords import coverage, keywords, rarity

COVERED = 0.8
"""Of what an answer must mention: from this share on, its passages are enough."""
STILL_ANSWERS = 0.5
"""Of the same: passages with this much of it may answer after all."""
NEAREST = 12
"""Passages of other documents that are looked through for a partner."""
SUBJECT_WORDS = 10
MOST_LOST = 0.4
"""Of the pairs that were paid for, so that shares hold."""


class Sizes(NamedTuple):
    """How many passages a question may have, and how near those that do not answer are."""

    per_question: int
    max_rank: int
    seed: int


class Contexts:
    """Chooses passages for questions, within the split of their documents."""

    def __init__(
        self, passages: Sequence[Passage], split_of: Mapping[str, Split], answers: Iterable[str], sizes: Sizes
    ) -> None:
        self.index, self.sizes, self.split_of = Index(passages), sizes, dict(split_of)
        self._rare = rarity(answers)
        self._rare_words = rarity(passage.text for passage in passages)
        self._of_document: dict[str, list[Passage]] = {}
        for passage in passages:
            self._of_document.setdefault(passage.document_id, []).append(passage)
        self._of_split: dict[Split, list[str]] = {}
        for document, split in split_of.items():
            self._of_split.setdefault(split, []).append(document)

    def answering(self, pair: Pair) -> Pair | None:
        """The pair with the passages that answer it and others; None where its documents have no passage."""
        split = self.split_of[pair.document_id]
        right = [passage for source in pair.sources for passage in self._right(pair, source)]
        if not right:
            return None
        places = {source.document_id: source for source in pair.sources}
        count = max(len(right), self._count(pair.pair_id))
        known = {passage.passage_id for passage in right}
        taken = {p.passage_id for source in pair.sources for p in self._candidates(source)} - known
        near = self._near(pair.question, self._of_split[split], known | taken)
        chosen = [*right, *near[: count - len(right)]]
        sources = [self._place(places[name], [p for p in right if p.document_id == name]) for name in places]
        return pair.model_copy(update={"passages": self._shuffled(pair.pair_id, chosen), "sources": sources})

    def not_answering(self, pair: Pair, without: Iterable[str] = ()) -> Pair | None:
        """A refusal with passages near its question, none of the documents `without`; None where there are none."""
        left_out = set(without)
        among = [name for name in self._of_split[self.split_of[pair.document_id]] if name not in left_out]
        near = self._near(pair.question, among, set())[: self._count(pair.pair_id)]
        if not near:
            return None
        return pair.model_copy(update={"passages": self._shuffled(pair.pair_id, near)})

    def swapped(self, pair: Pair, number: int, refusal: str) -> Pair | None:
        """The question of a pair with passages of other documents, which are said not to answer it."""
        documents = pair.documents
        declined = pair.model_copy(
            update={
                "pair_id": f"{pair.document_id}#{number}",
                "question_number": number,
                "kind": "refusal",
                "sources": [],
                "start_seconds": None,
                "end_seconds": None,
                "verified": None,
                "teacher": "composed",
                "prompt_sha256": None,
            }
        )
        placed = self.not_answering(declined, documents)
        if placed is None:
            return None
        shown = self.shown(placed)
        have = coverage(" ".join(p.text for p in shown), self._wanted(pair))
        if have is None or have >= STILL_ANSWERS:
            return None
        titles = " and ".join(dict.fromkeys(passage.title for passage in shown))
        return placed.model_copy(update={"answer": f"{refusal}: the passages are about {titles}, and do not say."})

    def shown(self, pair: Pair) -> list[Passage]:
        """The passages that come with a pair, in order."""
        return [self._by_id(name) for name in pair.passages]

    def digest(self, name: str) -> str:
        """What decides order and choice: the same for the same seed and name, whatever else there is."""
        return sha256_of(f"{self.sizes.seed}/{name}".encode())

    def partners(
        self,
        split: Split,
        before: Mapping[str, str],
        may: Callable[[str, str], bool] | None = None,
        settled: Set[str] = frozenset(),
    ) -> list[tuple[str, str]]:
        """Documents of a split in pairs of near ones; `before` are pairs that stay, an odd one out gets a second.

        Nearness is the best score of a passage of one for what the other is about; the nearest are paired first. With
        `may` only documents are paired of which it holds, and those without such a partner are left out. No pair but
        those of `before` is made of two `settled` documents.
        """
        names = sorted(self._of_split.get(split, []), key=self.digest)
        free, pairs = dict.fromkeys(names), list[tuple[str, str]]()
        edges = self._edges([name for name in names if name not in before])
        new = ((one, other) for _, one, other in edges if not {one, other} <= settled)
        for one, other in (*before.items(), *new):
            if one in free and other in free and one != other and (may is None or may(one, other)):
                pairs.append((one, other))
                del free[one], free[other]
        if may is not None:
            return pairs
        rest = list(free)
        pairs += zip(rest[::2], rest[1::2], strict=False)
        if len(rest) % 2 and len(names) > 1:
            last = rest[-1]
            near = [other for _, one, other in self._edges([last], names) if one == last]
            pairs.append((last, near[0] if near else next(name for name in names if name != last)))
        return pairs

    def _edges(self, names: Sequence[str], among: Sequence[str] | None = None) -> list[tuple[float, str, str]]:
        """(score, document, another of `among`) of near documents, the nearest first."""
        edges = []
        others = list(names if among is None else among)
        for one in names:
            passages = self._of_document.get(one, [])
            hits = self.index.search(self._subject(passages), NEAREST + len(passages), others)
            edges += [(hit.score, one, hit.passage.document_id) for hit in hits if hit.passage.document_id != one]
        return sorted(edges, key=lambda edge: (-edge[0], edge[1], edge[2]))

    def _wanted(self, pair: Pair) -> list[list[str]]:
        """What a right answer must mention."""
        return keywords(pair.question, without(pair.answer, [s.title for s in pair.sources]), self._rare)

    def _subject(self, passages: Sequence[Passage]) -> str:
        """What a document is about: its title, and the words that it repeats and few others have."""
        count = Counter(word for passage in passages for word in tokens(f"{' '.join(passage.heading)} {passage.text}"))
        weight = {word: times * self._rare_words.get(word, 0.0) for word, times in count.items()}
        best = sorted(weight, key=lambda word: (-weight[word], word))[:SUBJECT_WORDS]
        return " ".join([*(passage.title for passage in passages[:1]), *best])

    def _candidates(self, source: PairSource) -> list[Passage]:
        """The passages of the source's paragraphs; of the whole document where those are not known."""
        own = self._of_document.get(source.document_id, [])
        first, last = source.first_paragraph, source.last_paragraph
        if first is None:
            return own
        end = last if last is not None else first
        return [p for p in own if p.first_paragraph <= end and p.last_paragraph >= first] or own

    def _right(self, pair: Pair, source: PairSource) -> list[Passage]:
        """As few of the candidates as hold what the answer must mention, the best for question and answer first."""
        candidates = self._candidates(source)
        names = {passage.passage_id for passage in candidates}
        hits = self.index.search(f"{pair.question} {pair.answer}", len(self.index.passages), [source.document_id])
        ranked = [hit.passage for hit in hits if hit.passage.passage_id in names] or candidates[:1]
        wanted = self._wanted(pair)
        most = max(1, self.sizes.per_question // max(1, len(pair.sources)))
        chosen: list[Passage] = []
        for passage in ranked[:most]:
            chosen.append(passage)
            have = coverage(" ".join(p.text for p in chosen), wanted)
            if len(pair.sources) > 1 or have is None or have >= COVERED:
                break
        return chosen

    def _near(self, question: str, among: Iterable[str], without: set[str]) -> list[Passage]:
        """The passages that are nearly right, best first."""
        hits = self.index.search(question, self.sizes.max_rank + len(without), among)
        return [hit.passage for hit in hits if hit.passage.passage_id not in without][: self.sizes.max_rank]

    def _place(self, source: PairSource, right: Sequence[Passage]) -> PairSource:
        heading = right[0].heading if right else []
        title = right[0].title if right else source.title
        return source.model_copy(update={"heading": heading, "title": title})

    def _count(self, name: str) -> int:
        return 1 + int(self.digest(f"count/{name}")[:8], 16) % self.sizes.per_question

    def _shuffled(self, name: str, passages: Sequence[Passage]) -> list[str]:
        return sorted((p.passage_id for p in passages), key=lambda one: self.digest(f"{name}/{one}"))

    def _by_id(self, name: str) -> Passage:
        document = name.rpartition("/")[0]
        return next(passage for passage in self._of_document[document] if passage.passage_id == name)


def balanced(
    groups: Mapping[PairKind, Sequence[Pair]],
    shares: Mapping[PairKind, float],
    seed: int,
    owed: dict[PairKind, float] | None = None,
) -> dict[PairKind, list[Pair]]:
    """As many pairs of each kind as `shares` want, none of what a share of 0 wants.

    The kind of which there is too little decides how many there are of the others, unless there is so little of it that
    more than `MOST_LOST` of the others would be lost: then all of it stays, and its share is missed. Which pairs stay
    follows from a digest. `owed` carries what rounding left over from one split to the next.
    """
    owed = {} if owed is None else owed
    wanted = {kind: share for kind, share in shares.items() if share > 0}
    totals = {kind: len(groups.get(kind, ())) / share for kind, share in wanted.items()}
    usual = totals.get("grounded", max(totals.values()))
    enough = [total for total in totals.values() if total >= (1 - MOST_LOST) * usual]
    counts = _apportioned(int(min(enough) + 1e-9), wanted, owed)
    chosen: dict[PairKind, list[Pair]] = {}
    for kind in wanted:
        ranked = sorted(groups.get(kind, ()), key=lambda pair: sha256_of(f"{seed}/share/{pair.pair_id}".encode()))
        chosen[kind] = ranked[: counts[kind]]
    return chosen


def _apportioned(total: int, shares: Mapping[PairKind, float], owed: dict[PairKind, float]) -> dict[PairKind, int]:
    """Whole numbers in these shares that add up to `total`; whom rounding `owed` most is rounded up."""
    exact = {kind: share * total for kind, share in shares.items()}
    counts = {kind: int(value + 1e-9) for kind, value in exact.items()}
    behind = {kind: exact[kind] - counts[kind] + owed.get(kind, 0.0) for kind in exact}
    for kind in sorted(behind, key=lambda kind: -behind[kind])[: total - sum(counts.values())]:
        counts[kind] += 1
        behind[kind] -= 1
    owed |= behind
    return counts
