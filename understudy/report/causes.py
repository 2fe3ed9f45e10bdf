"""Why a tuned model scores worse than its base, as far as the numbers show it."""

from collections.abc import Iterator, Mapping

from understudy.records import BaseCard, Interval
from understudy.report.evidence import Evidence
from understudy.report.findings import BASE, TUNED

CUT_MORE = 0.05
"""Share of the answers."""
SHORTER = 0.8
"""Of the base's words."""


def causes(evidence: Evidence) -> list[str]:
    """One sentence per cause, each with its numbers; [] where nothing stands out."""
    card = evidence.scorecard
    scored = {one.name: one.metrics for one in card.candidates}
    return list(_causes(scored.get(BASE, {}), scored.get(TUNED, {}), card.differences, evidence))


def _causes(
    base: Mapping[str, Interval], tuned: Mapping[str, Interval], change: Mapping[str, Interval], evidence: Evidence
) -> Iterator[str]:
    cut = _values(base, tuned, "cut")
    if cut and cut[1] > cut[0] + CUT_MORE:
        yield f"Truncation: {cut[1]:.0%} of its answers are cut (base {cut[0]:.0%}); raise evaluate.max_tokens."
    short = _values(base, tuned, "too_short")
    if short and short[1] > short[0] + CUT_MORE:
        yield f"Truncation: {short[1]:.0%} of its answers end far too early (base {short[0]:.0%}); read some of them."
    if (refuses := change.get("over_refusal")) and refuses.low > 0:
        yield (
            f"Over-refusal: it declines {refuses.value:+.0%} more of what its passages answer; "
            "a lower recipe.shares.refusal, or harder passages, teach less of that."
        )
    words, covered = _values(base, tuned, "words"), change.get("keyword_coverage")
    if words and covered and covered.high < 0 and words[1] < SHORTER * words[0]:
        yield (
            f"Metric against form: keywords count what is mentioned, and its answers have {words[1]:.0f} words where "
            f"the base's have {words[0]:.0f}. Compare the loss, and read answers, before you call it worse."
        )
    cards = [card for card in evidence.cards.values() if isinstance(card, BaseCard)]
    if any(card.quantized for card in cards):
        yield "Unequal quantization: the base is quantized and the tuned model is not; some of the difference is that."


def _values(base: Mapping[str, Interval], tuned: Mapping[str, Interval], name: str) -> tuple[float, float] | None:
    return (base[name].value, tuned[name].value) if name in base and name in tuned else None
