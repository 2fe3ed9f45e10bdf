"""
What is in a dataset: lengths, formatting, splits, refusals, cost, and which minutes of each talk taught the model.

Linear in the number of pairs; documents are looked at one at a time.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from understudy.dataset.formats import by_split, link
from understudy.records import Document, Leakage, Pair, Questions, Record, Split, SplitPlan
from understudy.text import private
from understudy.text.markdown import profile
from understudy.text.words import word_count

FORMATTING_ANSWERS = 20_000
EXAMPLES_SHOWN = 3
TAGS_SHOWN = 20
WORDS_PER_SECOND = 2.5


class Bin(Record):
    """One bar: values from `low` up to, not including, `high`."""

    low: float
    high: float
    count: int


class Spread(Record):
    """How a length is distributed."""

    n: int
    mean: float
    lowest: int
    p10: int
    median: int
    p90: int
    highest: int
    bins: list[Bin] = Field(description="the last one holds everything above its start")


class Formatting(Record):
    """Shares of the answers that have a form."""

    n: int = Field(description="answers looked at: all, or every k-th of a large dataset")
    bold: float
    lists: float
    paragraphs: float = Field(description="two or more")
    headings: float
    broken: float = Field(description="an open ** or code fence, or line breaks spelled out")


class Example(Record):
    """One refused pair."""

    pair_id: str
    question: str
    reason: str
    link: str | None


class Refusals(Record):
    """What one gate refused."""

    gate: str
    pairs: int
    examples: list[Example] = Field(description="the first ones, each for another reason")


class Coverage(Record):
    """Which part of a talk its kept pairs come from."""

    unit: Literal["seconds", "paragraphs"]
    total: float
    covered: float
    spans: list[tuple[float, float]] = Field(description="from, to; in order, without overlap")

    @property
    def share(self) -> float:
        """Of the talk, 0 to 1."""
        return self.covered / self.total if self.total else 0.0


class TalkDescription(Record):
    """One talk in numbers."""

    document_id: str
    title: str
    pairs: int
    kept: int
    splits: list[Split]
    coverage: Coverage | None = Field(description="None where neither times nor paragraphs of the pairs are known")


class Description(Record):
    """A whole dataset in numbers."""

    pairs: int
    kept: int
    talks: list[TalkDescription] = Field(description="the least covered first, those of unknown coverage last")
    splits: dict[Split, int]
    split_talks: dict[Split, int]
    leakage: Leakage
    question_words: Spread | None = Field(description="of the kept pairs, as all below; None without any")
    answer_words: Spread | None
    answer_tokens: Spread | None
    formatting: Formatting | None
    tags: dict[str, int] = Field(description="the most frequent ones")
    distinct_tags: int
    untagged: int
    refusals: list[Refusals]
    usd: float | None
    usd_per_kept: float | None
    private: dict[str, int] = Field(default={}, description="kind > kept pairs with e-mail addresses and the like")


def describe(
    pairs: Sequence[Pair],
    plan: SplitPlan,
    documents: Iterable[Document] = (),
    questions: Iterable[Questions] = (),
    tokens: Callable[[str], int] | None = None,
    usd: float | None = None,
) -> Description:
    """The dataset of all `pairs`, refused ones too, in numbers. Raises DatasetError where pairs and plan do not fit.

    `questions` give the paragraphs of a talk without times; `tokens` counts those of a text; `usd` is what
    all pairs cost.
    """
    splits = by_split(pairs, plan)
    kept = [pair for rows in splits.values() for pair in rows]
    answers = [pair.answer for pair in kept]
    tags = Counter(tag for pair in kept for tag in pair.tags)
    return Description(
        pairs=len(pairs),
        kept=len(kept),
        talks=_talks(pairs, splits, documents, questions),
        splits={split: len(rows) for split, rows in splits.items()},
        split_talks={split: len({pair.document_id for pair in rows}) for split, rows in splits.items()},
        leakage=plan.leakage,
        question_words=_spread([word_count(pair.question) for pair in kept]),
        answer_words=_spread([word_count(answer) for answer in answers]),
        answer_tokens=_spread([tokens(answer) for answer in answers]) if tokens else None,
        formatting=_formatting(answers),
        tags=dict(sorted(tags.items(), key=lambda item: (-item[1], item[0]))[:TAGS_SHOWN]),
        distinct_tags=len(tags),
        untagged=sum(not pair.tags for pair in kept),
        refusals=_refusals(pairs),
        usd=usd,
        usd_per_kept=usd / len(kept) if usd is not None and kept else None,
        private=dict(Counter(kind for pair in kept for kind in private.found(f"{pair.question}\n{pair.answer}"))),
    )


def _spread(values: list[int]) -> Spread | None:
    if not values:
        return None
    values.sort()
    at = {share: values[min(len(values) - 1, int(share * len(values)))] for share in (0.1, 0.5, 0.9, 0.99)}
    # One endless answer must not squeeze all others into the first bar.
    edges = ticks(values[0], max(at[0.99], values[0] + 1), 16)
    counts: Counter[int] = Counter()
    step = edges[1] - edges[0]
    for value in values:
        counts[min(int((value - edges[0]) / step), len(edges) - 2)] += 1
    return Spread(
        n=len(values),
        mean=sum(values) / len(values),
        lowest=values[0],
        p10=at[0.1],
        median=at[0.5],
        p90=at[0.9],
        highest=values[-1],
        bins=[Bin(low=low, high=high, count=counts[i]) for i, (low, high) in enumerate(pairwise(edges))],
    )


def _formatting(answers: Sequence[str]) -> Formatting | None:
    """Reading an answer's markdown takes 0.1 ms, so that of a large dataset only every k-th one is read."""
    if not answers:
        return None
    shapes = [profile(answer) for answer in answers[:: -(-len(answers) // FORMATTING_ANSWERS)]]

    def share(has: Iterable[bool]) -> float:
        return sum(has) / len(shapes)

    return Formatting(
        n=len(shapes),
        bold=share(s.bold_spans > 0 for s in shapes),
        lists=share(s.list_items > 0 for s in shapes),
        paragraphs=share(s.paragraphs >= 2 for s in shapes),
        headings=share(s.headers > 0 for s in shapes),
        broken=share(s.unbalanced_bold or s.unclosed_fence or s.literal_breaks > 0 for s in shapes),
    )


def _refusals(pairs: Sequence[Pair]) -> list[Refusals]:
    counts: Counter[str] = Counter()
    examples: dict[str, dict[str, Example]] = defaultdict(dict)
    for pair in pairs:
        if pair.kept:
            continue
        gate, reason = pair.gate or "unknown", pair.reason or "no reason given"
        counts[gate] += 1
        if len(examples[gate]) < EXAMPLES_SHOWN and reason not in examples[gate]:
            shown = Example(pair_id=pair.pair_id, question=pair.question, reason=reason, link=link(pair))
            examples[gate][reason] = shown
    return [Refusals(gate=g, pairs=n, examples=list(examples[g].values())) for g, n in counts.most_common()]


def _talks(
    pairs: Sequence[Pair],
    splits: Mapping[Split, list[Pair]],
    documents: Iterable[Document],
    questions: Iterable[Questions],
) -> list[TalkDescription]:
    counts, titles = Counter(pair.document_id for pair in pairs), {pair.document_id: pair.title for pair in pairs}
    kept: dict[str, list[Pair]] = defaultdict(list)
    on: dict[str, dict[Split, None]] = defaultdict(dict)
    for split, rows in splits.items():
        for pair in rows:
            kept[pair.document_id].append(pair)
            on[pair.document_id][split] = None
    paragraphs = {q.document_id: _paragraph_spans(q) for q in questions}
    covered: dict[str, Coverage | None] = {}
    for document in documents:
        name = document.document_id
        titles[name] = document.title
        covered[name] = coverage(document, kept[name], paragraphs.get(name, {}))
    talks = [
        TalkDescription(
            document_id=name,
            title=title,
            pairs=counts[name],
            kept=len(kept[name]),
            splits=list(on[name]),
            coverage=covered.get(name),
        )
        for name, title in titles.items()
    ]
    return sorted(talks, key=lambda t: (t.coverage.share if t.coverage else 2, t.document_id))


def coverage(
    document: Document, kept: Sequence[Pair], paragraphs: Mapping[int, tuple[float, float]]
) -> Coverage | None:
    """What of the talk its `kept` pairs come from: minutes where it has times, else paragraphs where those are known.

    `paragraphs` maps a question number to its first paragraph and the one after its last.
    """
    times = [p.start_seconds for p in document.paragraphs if p.start_seconds is not None]
    if times:
        last = word_count(document.paragraphs[-1].text) / WORDS_PER_SECOND
        total = document.duration_seconds or max(times) + last
        spans = [(p.start_seconds, p.end_seconds or total) for p in kept if p.start_seconds is not None]
        return _joined("seconds", total, spans)
    if not paragraphs and kept:
        return None
    spans = [paragraphs[p.question_number] for p in kept if p.question_number in paragraphs]
    return _joined("paragraphs", len(document.paragraphs), spans)


def _paragraph_spans(questions: Questions) -> dict[int, tuple[float, float]]:
    spans = ((q.question_number, q.first_paragraph, q.last_paragraph) for q in questions.questions)
    return {n: (first, 1 + (first if last is None else last)) for n, first, last in spans if first is not None}


def _joined(unit: Literal["seconds", "paragraphs"], total: float, spans: Iterable[tuple[float, float]]) -> Coverage:
    """Spans cut to the talk, those that touch made one."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted((max(0.0, start), min(end, total)) for start, end in spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return Coverage(unit=unit, total=total, covered=sum(end - start for start, end in joined), spans=joined)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that span low to high, at steps of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{place * step:.10g}") for place in range(first, last + 1)]
