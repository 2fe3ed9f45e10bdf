"""Refuses a question that occurs earlier in the same or nearly the same words, and an answer given to several."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text import symbols
from understudy.text.markdown import Form, well_formatted
from understudy.text.similarity import near_duplicates
from understudy.text.words import word_count, words


class DuplicatesGate:
    """
    Keeps, of near-duplicate questions, the one with the best answer, and of one answer to many the best question.

    Better is a well-formatted answer, then one nearer to the channel's median length; of equals the
    earlier one. A pair is refused only for a kept pair that is near to it directly, never through a chain.
    Of questions that share one answer word for word, the one stays that shares the most words with it.
    """

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        threshold: float = Field(default=0.7, gt=0, le=1, description="share of the words' weight that is the same")
        form: Form = Field(
            default="markdown", exclude_if=lambda form: form == "markdown", description="of the better of two answers"
        )

    VERSION = 4

    def __init__(self, options: Options) -> None:
        self.options = options
        self._twin: dict[str, str] = {}
        self._same_answer: dict[str, str] = {}

    def study(self, pairs: Sequence[Pair]) -> None:
        """Find the near-duplicates of the channel and choose which stay."""
        self._twin, self._same_answer = {}, {}
        if not pairs:
            return
        usual = math.log(median(max(1, word_count(pair.answer)) for pair in pairs))

        @cache
        def rank(at: int) -> tuple[bool, float, int]:
            return *_rank(pairs[at], usual, self.options.form), at

        same: dict[tuple[str, ...], list[int]] = {}
        for at, pair in enumerate(pairs):
            same.setdefault(tuple(symbols.split(pair.question)), []).append(at)
        groups = [sorted(group, key=rank) if len(group) > 1 else group for group in same.values()]
        links: list[set[int]] = [set() for _ in groups]
        for a, b in near_duplicates([pairs[group[0]].question for group in groups], self.options.threshold):
            links[a].add(b)
            links[b].add(a)
        keep: set[int] = set()
        doubled = [number for number, group in enumerate(groups) if links[number] or len(group) > 1]
        for number in sorted(doubled, key=lambda n: rank(groups[n][0])):
            better = min(links[number] & keep, default=None)
            best = pairs[groups[number if better is None else better][0]].pair_id
            if better is None:
                keep.add(number)
            self._twin |= {pairs[at].pair_id: best for at in groups[number] if pairs[at].pair_id != best}
        self._same_answer = _same_answers([pair for pair in pairs if pair.pair_id not in self._twin])

    def judge(self, pair: Pair) -> str | None:
        """The pair that is kept instead."""
        if twin := self._twin.get(pair.pair_id):
            return f"near-duplicate of {twin}"
        other = self._same_answer.get(pair.pair_id)
        return f"the same answer as {other}, which asks something else" if other else None


def _same_answers(pairs: Sequence[Pair]) -> dict[str, str]:
    """Each pair whose answer fits another question better -> that pair."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault("".join(pair.answer.lower().split()), []).append(pair)
    better: dict[str, str] = {}
    for group in groups.values():
        if len(group) > 1:
            own = set(words(group[0].answer))
            best = max(group, key=lambda pair: len(own.intersection(words(pair.question))))  # of equals the first
            better |= {pair.pair_id: best.pair_id for pair in group if pair is not best}
    return better


def _rank(pair: Pair, usual: float, form: Form) -> tuple[bool, float]:
    """Smaller is better."""
    return not well_formatted(pair.answer, form), abs(math.log(max(1, word_count(pair.answer))) - usual)
