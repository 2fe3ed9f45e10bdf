"""
The words of the scorecard and what to do with a run; both follow from intervals and margins alone.

No number is mixed with another into one grade. 'better' and 'worse' mean that the whole 95 % interval lies on one
side of no difference, 'no worse' that it does not reach the margin, and everything else is 'not enough data'.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from understudy.records import AdapterCard, CandidateScore, Decision, Interval, JudgeScore, ParityReport, Word

MIN_TALKS, MIN_PAIRS = 2, 5
"""With fewer, no verdict but 'not enough data'."""

MARGINS = {
    "nll_per_token": 0.05,
    "nll_end": 0.2,
    "well_formatted": 0.05,
    "format_gap_closed": 0.1,
    "style_gap_closed_teacher": 0.1,
    "style_gap_closed_talks": 0.1,
    "broken": 0.05,
    "instructions": 0.1,
    "choices": 0.05,
    "off_topic": 0.2,
    "keyword_coverage": 0.05,
    "declines_rightly": 0.1,
    "cites": 0.1,
    "right_title": 0.1,
    "citation_precision": 0.1,
    "substantive": 0.05,
    "likeness": 0.05,
    "refusal_balance": 0.1,
    "correct": 0.05,
    "facts_given": 0.05,
    "over_refusal": 0.1,
}
"""How much worse is still 'no worse': nats per token for the loss, else a share.

No margin is below what its suite can show: 100 unchanged answers leave 3.7 points open, 60 leave 6, 20 leave 16.
"""

BUDGETS = {"kl_general": 0.25, "copied": 0.05}
"""How large a number that is nearly 0 for a base may become before it counts as harm.

Drift of tuned from base on general prompts in nats per token, and a share of answers. The drift was calibrated on three
trainings of SmolLM2-135M-Instruct for a teacher's manner: at 0.19 nothing else that was measured got worse; at 0.51 it
followed fewer instructions (47 to 13 %); at 0.71 it knew less (60 to 44 %). One base, one channel.
"""

FEW_ROWS = 50
"""With fewer rows a training that does harm lacks rows, not gentleness: seventy taught a real base its manner."""

BROKEN_AT_MOST = 0.02
"""A significantly larger share of broken answers is never shipped, however broken the base is."""

NEARLY_EXACT = ("Q8_0", "Q6_K")
"""Quantizations that lose next to nothing: one that differs was made wrong. A smaller one may simply be too small."""

LEARNED = (
    "nll_per_token", "format_gap_closed", "style_gap_closed_teacher", "well_formatted", "judge_voice",
    "right_title", "refusal_balance", "correct",
)  # fmt: skip
FORGOT = ("instructions", "choices", "off_topic", "kl_general")

_HARMS = {
    "broken": "more answers are broken than the base's",
    "copied": "answers repeat passages of the training answers word for word",
    "instructions": "it follows plain instructions less often than the base",
    "choices": "it knows less of what the base knows",
    "off_topic": "the teacher's style shows in answers off topic",
    "kl_general": f"on general prompts it drifts more than {BUDGETS['kl_general']} nats per token from the base",
    "keyword_coverage": "it uses less of the texts in its prompt than the base",
    "right_title": "it names the right text less often than the base",
    "citation_precision": "more of what it cites is wrong",
    "refusal_balance": "it tells worse than the base whether its passages answer",
    "over_refusal": "it declines more questions that its passages do answer",
    "substantive": "fewer of its answers say anything",
    "correct": "fewer of its answers hold what the manual says",
    "facts_given": "its answers mention less of what they must",
    "likeness": "its answers mean less of what the references mean",
    "well_formatted": "fewer of its answers have the form that was taught",
    "format_gap_closed": "the form of its answers is farther from the one that was taught",
    "style_gap_closed_teacher": "its style is farther from the teacher's",
    "judge_voice": "the judge finds the base nearer to the teacher",
    "declines_rightly": "it is worse at declining what the texts in its prompt do not answer",
}


def verdict(
    difference: Interval, better: Literal["lower", "higher"], margin: float | None, trusted: bool = True
) -> Word:
    """The verdict that a tuned-minus-base interval supports; `trusted` is False where the split supports none."""
    if not trusted or difference.n < MIN_PAIRS:
        return "not enough data"
    worst, best = (difference.high, difference.low) if better == "lower" else (-difference.low, -difference.high)
    # Larger is now worse: `worst` is the most harm the data allows, `best` the least.
    if worst < 0:
        return "better"
    if best > 0:
        return "worse"
    return "no worse" if margin is not None and worst <= margin else "not enough data"


def within(value: Interval, budget: float, trusted: bool = True) -> Word:
    """The verdict on a number that has a budget, such as a divergence: never 'better'."""
    if not trusted or value.n < MIN_PAIRS:
        return "not enough data"
    if value.low > budget:
        return "worse"
    return "no worse" if value.high <= budget else "not enough data"


def judged(score: JudgeScore, trusted: bool = True) -> Word:
    """The verdict that a judge's comparison supports.

    Only what also holds among answers of about equal length counts: a judge that prefers long answers does not judge
    style. One whose choice mostly depends on the order finds ties, and ties prove nothing.
    """
    if score.difference is None or score.matched is None or score.matched.n < MIN_PAIRS:
        return "not enough data"
    word = verdict(score.difference, "higher", None, trusted)
    agrees = {"better": score.matched.value > 0, "worse": score.matched.value < 0}.get(word, False)
    return word if agrees else "not enough data"


def export_defects(report: ParityReport) -> list[tuple[str, str]]:
    """(file and why it is refused, where the defect is) of each check that too few bits do not explain."""
    defects = []
    for check in report.checks:
        exact = check.reference in (None, "adapter", "fused") or check.name in NEARLY_EXACT
        if check.refused and exact:
            where = {None: "data or template", "adapter": "fuse", "fused": "conversion or template"}
            place = where.get(check.reference, f"quantization {check.name}")
            defects.append((f"{check.name} is refused: {check.refused}", place))
    return defects


def decide(
    verdicts: Mapping[str, Word],
    candidates: Sequence[CandidateScore],
    adapter: AdapterCard | None = None,
    parity: ParityReport | None = None,
) -> Decision:
    """What to do with the run. Pure: the same scorecard always gives the same decision.

    In this order: a file that is not what was trained, a training that cannot have worked, harm by too few rows, harm,
    too little data, success. `adapter` tells whether the valid loss was still falling and how many rows there were,
    `parity` which files are refused.
    """
    scored = {candidate.name: candidate.metrics for candidate in candidates}
    if parity and (wrong := export_defects(parity)):
        return Decision(action="bug upstream of training", where=wrong[0][1], reasons=[why for why, _ in wrong])
    if reason := _never_worked(verdicts, adapter):
        return Decision(action="bug upstream of training", where="data or template", reasons=[reason])
    harms = [why for name, why in _HARMS.items() if verdicts.get(name) == "worse"]
    if verdicts.get("copied") == "worse" and verdicts.get("nll_per_token") != "better":
        return Decision(
            action="more data", reasons=[f"it memorized: {_HARMS['copied']}, and the loss is no lower elsewhere"]
        )
    rows = adapter.settings.get("train_rows") if adapter else None
    if harms and isinstance(rows, int) and rows < FEW_ROWS:
        return Decision(action="more data", reasons=[*harms, f"{rows} train rows teach no manner without harm"])
    if harms:
        return Decision(action="lower the learning rate", reasons=harms)
    broken = [scored.get(name, {}).get("broken") for name in ("base", "adapter")]
    return _without_harm(verdicts, broken[0], broken[1], adapter)


def _never_worked(verdicts: Mapping[str, Word], adapter: AdapterCard | None) -> str | None:
    """Why the defect must be before or around training: in the rows, their mask or their template."""
    if verdicts.get("nll_end") == "worse" and verdicts.get("broken") == "worse":
        return "it no longer expects the end of an answer and does not stop: the end token was no training target"
    rose = adapter is not None and adapter.best_iteration == 0 and adapter.steps > 0
    if rose and verdicts.get("nll_per_token") != "better":
        return "the valid loss rose from the first step on: look at the rows as the model sees them"
    if verdicts.get("nll_per_token") == "worse" and verdicts.get("copied") != "worse":
        if adapter is not None and adapter.best_valid_loss < adapter.base_valid_loss:
            return None  # it did fall on valid: too few talks, not a defect
        return "the loss on held-out answers rose: the rows, their mask or their template are not what is scored"
    return None


def _without_harm(
    verdicts: Mapping[str, Word], base: Interval | None, broken: Interval | None, adapter: AdapterCard | None
) -> Decision:
    """The decision where nothing is worse; `base` and `broken` are the shares of broken answers of base and tuned."""
    words = {name: verdicts[name] for name in LEARNED if name in verdicts}
    gained = [name for name, word in words.items() if word == "better"]
    unsure = [name for name in FORGOT if verdicts.get(name) == "not enough data"]
    if verdicts.get("nll_per_token") == "better" or (gained and "nll_per_token" not in words):
        if broken and broken.low > BROKEN_AT_MOST:
            why = f"it learned, but at least {broken.low:.0%} of its answers are still broken"
            if base and base.low > BROKEN_AT_MOST:
                why += f" (its base: at least {base.low:.0%})"
                return Decision(action="take a better base", reasons=[why])
            return Decision(action="lower the learning rate", reasons=[why])
        reasons = [f"better in {', '.join(gained)}, worse in nothing that was measured"]
        return Decision(action="ship", reasons=reasons + [f"not enough data on {', '.join(unsure)}"] * bool(unsure))
    last = adapter is not None and not adapter.stopped_early and adapter.best_iteration >= 0.9 * adapter.iterations > 0
    if last and adapter is not None and adapter.best_valid_loss < adapter.base_valid_loss:
        return Decision(action="train longer", reasons=["the valid loss was still falling at the last step"])
    listed = ", ".join(f"{name}: {word}" for name, word in words.items()) or "nothing could be compared"
    return Decision(action="more data", reasons=[f"nothing shows that it learned ({listed})"])
