"""
How answers from given texts behave: whether they cite the right text, say what it says, and decline when it does not.

A refusal is right where the passages do not answer, and only there. `refusal_balance` is the mean of the two shares, so
that refusing everything, or nothing, gives one half.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.records import Interval, Pair, Sample, TopicComparison
from understudy.scoring.statistics import mean_change, mean_interval, wilson
from understudy.text import keywords
from understudy.text.citations import CitationForm, cited, without
from understudy.text.declining import declines
from understudy.text.words import word_count

SUBSTANTIVE_WORDS = 8
"""Fewer say nothing: "Ragas evaluates R" is no answer."""
FLAGS = ("right_title", "citation_precision", "keyword_coverage", "substantive", "over_refusal", "refusal_recall")


class Facts(NamedTuple):
    """What one answer did; None where that cannot be said of it."""

    document_id: str
    topic: str
    should_decline: bool
    declined: bool
    right_title: float | None
    citation_precision: float | None
    """Of what it cites, the share that is right; None where it cites nothing."""
    keyword_coverage: float | None
    substantive: float | None
    over_refusal: float | None
    refusal_recall: float | None


class CitationsMetric(BaseMetric):
    """Citations, keywords and refusals of answers from given texts."""

    VERSION = 1

    class Options(BaseMetric.Options):
        """As in the recipe."""

        citation: CitationForm = Field(default="[Title]", description="how an answer names what it rests on")
        refusal: str = Field(default="I cannot answer this from the provided context", description="how one begins")

    options: Options
    better: dict[str, Literal["lower", "higher"]] = {
        "right_title": "higher",
        "citation_precision": "higher",
        "keyword_coverage": "higher",
        "substantive": "higher",
        "refusal_balance": "higher",
        "over_refusal": "lower",
    }

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._pairs: Mapping[str, Pair] = {}
        self._titles: set[str] = set()
        self._keywords: dict[str, list[list[str]]] = {}

    def study(self, references: References) -> None:
        """Learn what each held-out question rests on, and what a right answer must mention."""
        self._pairs = {pair.pair_id: pair for pair in references.held_out}
        every = [*references.train, *references.held_out]
        self._titles = {pair.title for pair in every} | {source.title for pair in every for source in pair.sources}
        rare = keywords.rarity(pair.answer for pair in every)
        self._keywords = {
            pair.pair_id: keywords.keywords(pair.question, _bare(pair), rare) for pair in references.held_out
        }

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Shares (Wilson), keyword coverage and precision (bootstrap over documents), seconds to answer."""
        own = answered(samples)
        facts = [fact for sample in own if (fact := self.facts(sample))]
        if not facts:
            return {}
        values = {name: value for name in FLAGS if (value := _mean(facts, name, seed))}
        declined = [fact.should_decline for fact in facts if fact.declined]
        if declined:
            values["refusal_precision"] = wilson(sum(declined), len(declined))
        if balance := _balance(facts, seed, (0.0, 1.0), _right):
            values["refusal_balance"] = balance
        return values | _seconds(own, seed)

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base of each, paired by question, by bootstrap over documents."""
        both = [
            (after, before)
            for a, b in answered_by_both(tuned, base, self._pairs)
            if (after := self.facts(a)) and (before := self.facts(b))
        ]
        changes: dict[str, Interval] = {}
        for name in FLAGS:
            known = [(a, b) for a, b in both if getattr(a, name) is not None and getattr(b, name) is not None]
            if known:
                values = [getattr(a, name) - getattr(b, name) for a, b in known]
                changes[name] = mean_change(values, [a.document_id for a, _ in known], seed)
        earlier = {id(a): b for a, b in both}
        after_all = [a for a, _ in both]
        if balance := _balance(after_all, seed, (-1.0, 1.0), lambda f: _right(f) - _right(earlier[id(f)])):
            changes["refusal_balance"] = balance
        return changes

    def topics(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> list[TopicComparison]:
        """Keyword coverage topic by topic, paired by question, the interval by bootstrap over documents."""
        both: dict[str, list[tuple[Facts, float, float]]] = {}
        for a, b in answered_by_both(tuned, base, self._pairs):
            after, before = self.facts(a), self.facts(b)
            if after and before and after.keyword_coverage is not None and before.keyword_coverage is not None:
                row = after, after.keyword_coverage, before.keyword_coverage
                both.setdefault(after.topic or "other", []).append(row)
        return [
            TopicComparison(
                topic=topic,
                answers=len(rows),
                base=sum(old for _, _, old in rows) / len(rows),
                tuned=sum(new for _, new, _ in rows) / len(rows),
                difference=_paired(rows, seed),
            )
            for topic, rows in sorted(both.items())
        ]

    def facts(self, sample: Sample) -> Facts | None:
        """What an answer did; None for a pair that is not held out."""
        pair = self._pairs.get(sample.pair_id)
        if pair is None:
            return None
        text = sample.text or ""
        titles = [source.title for source in pair.sources] or [pair.title]
        names = cited(text, titles, self.options.citation, self._titles)
        refused = pair.kind == "refusal"
        declined = declines(text, self.options.refusal) and not (names.known or names.unknown)
        every = len(names.known) + len(names.unknown)
        said = not declined and word_count(text) >= SUBSTANTIVE_WORDS
        return Facts(
            document_id=pair.document_id,
            topic=pair.tags[0] if pair.tags else "",
            should_decline=refused,
            declined=declined,
            right_title=None if refused else float(bool(names.known)),
            citation_precision=None if refused or not every else len(names.known) / every,
            keyword_coverage=None if refused else keywords.coverage(text, self._keywords.get(sample.pair_id, [])),
            substantive=None if refused else float(said),
            over_refusal=None if refused else float(declined),
            refusal_recall=float(declined) if refused else None,
        )


def _bare(pair: Pair) -> str:
    return without(pair.answer, [source.title for source in pair.sources])


def _paired(rows: Sequence[tuple[Facts, float, float]], seed: int) -> Interval | None:
    documents = [fact.document_id for fact, _, _ in rows]
    return mean_change([new - old for _, new, old in rows], documents, seed) if len(set(documents)) > 1 else None


def _right(fact: Facts) -> float:
    return float(fact.declined == fact.should_decline)


def _balance(
    facts: Sequence[Facts], seed: int, bounds: tuple[float, float], value: Callable[[Facts], float]
) -> Interval | None:
    """The mean of `value` over both kinds of questions, each kind counting one half; None without one of them."""
    refused = sum(fact.should_decline for fact in facts)
    if not 0 < refused < len(facts):
        return None
    half = {True: len(facts) / (2 * refused), False: len(facts) / (2 * (len(facts) - refused))}
    values = [value(fact) * half[fact.should_decline] for fact in facts]
    return mean_interval(values, [fact.document_id for fact in facts], seed, bounds=bounds)


def _mean(facts: Sequence[Facts], name: str, seed: int) -> Interval | None:
    known = [(getattr(fact, name), fact.document_id) for fact in facts if getattr(fact, name) is not None]
    if not known:
        return None
    values = [value for value, _ in known]
    if set(values) <= {0.0, 1.0}:
        return wilson(int(sum(values)), len(values))
    return mean_interval(values, [document for _, document in known], seed, bounds=(0.0, 1.0))


def _seconds(samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
    """How long an answer takes, and how long its first token; where the engine says so."""
    known = {
        name: [(value, s.document_id) for s in samples if (value := getattr(s, name)) is not None]
        for name in ("seconds", "first_token_seconds")
    }
    return {
        name: mean_interval([v for v, _ in rows], [d for _, d in rows], seed, bounds=(0.0, float("inf")))
        for name, rows in known.items()
        if rows
    }
