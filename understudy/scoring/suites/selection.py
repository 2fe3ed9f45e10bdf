"""Which items of the suites a preset asks, and what the answers to them come to."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from understudy import store
from understudy.records import Divergence, Drift, Record, SuiteAnswers
from understudy.scoring import suites
from understudy.scoring.suites import retrieval
from understudy.sections import EvaluateSettings

QUICK = 4
"""The quick suites are every fourth item."""
Item = TypeVar("Item")


class Selection:
    """The items that `evaluate` asks for; none of a suite that it does not want."""

    def __init__(self, settings: EvaluateSettings) -> None:
        self.settings = settings
        self.items = retrieval.load(settings.retrieval) if settings.retrieval else []
        self.instructions = self._some(suites.instructions())
        self.off_topic = self._some(suites.off_topic())
        self.choices = self._some(suites.choices())

    @property
    def prompts(self) -> list[suites.Prompt]:
        """What is answered in words."""
        return [*self.instructions, *self.off_topic]

    def digest(self, marks: bool) -> str | None:
        """What is asked; with `marks` also what counts as right. None where nothing is asked."""
        if not self.settings.suites and not self.items:
            return None
        given = [
            [item.item_id, item.model_dump(mode="json") if marks else retrieval.conversation(item)[0].content]
            for item in self.items
        ]
        wanted = self.settings.suites
        return store.fingerprint(_digest_of(wanted == "quick", marks) if wanted else None, given)

    def outcomes(self, answers: Mapping[str, SuiteAnswers]) -> dict[str, dict[str, Mapping[str, bool]]]:
        """Suite > candidate > item > passed."""
        return {
            "instructions": {name: suites.passed(self.instructions, one.answers) for name, one in answers.items()},
            "off_topic": {name: suites.passed(self.off_topic, one.answers) for name, one in answers.items()},
            "choices": {name: suites.chosen(self.choices, one.log_p) for name, one in answers.items()},
        }

    def retrieved(self, answers: Mapping[str, SuiteAnswers]) -> dict[str, dict[str, retrieval.Outcome]]:
        """Candidate > item > what its answer from the given texts did; {} where no items are given."""
        return {
            name: {item.item_id: retrieval.outcome(item, one.retrieved[item.item_id]) for item in self.items}
            for name, one in answers.items()
            if self.items
        }

    def _some(self, items: Sequence[Item]) -> Sequence[Item]:
        if not self.settings.suites:
            return ()
        return items[::QUICK] if self.settings.suites == "quick" else items


def drifts(rows: Sequence[Drift]) -> dict[str, list[tuple[str, Divergence]]]:
    """'general', 'domain' > the name and divergence of each answer; only kinds that were measured."""
    by_kind: dict[str, list[tuple[str, Divergence]]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append((row.name, row.divergence))
    return by_kind


@cache
def _digest_of(quick: bool, marks: bool) -> str:
    def plain(items: Sequence[Record]) -> list[Any]:
        exclude = None if marks else {"checks"}
        return [item.model_dump(mode="json", exclude=exclude) for item in items[:: QUICK if quick else 1]]

    items: tuple[Sequence[Record], ...] = (suites.instructions(), suites.off_topic(), suites.choices())
    return store.fingerprint(suites.MAX_TOKENS, [plain(suite) for suite in items])
