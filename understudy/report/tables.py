"""The tables of the page, as data; the templates draw and escape them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from understudy.records import (
    AgainstRetrieval,
    BaselineComparison,
    BasisScore,
    Interval,
    JudgeScore,
    Manuals,
    ParityCheck,
    ParityReport,
    Phrase,
    Scorecard,
    TopicComparison,
)
from understudy.report import LABELS, candidate, difference, label, number, signed, size
from understudy.scoring.preferences import Verdict, chance
from understudy.text.words import one_line

VALUE_CHARACTERS = 300


class Cell(NamedTuple):
    """A cell that is more than its text."""

    text: str
    small: str = ""
    """A second line in small print."""
    kind: str = ""
    """A class of the style sheet, e.g. 'badge worse'."""


class Table(NamedTuple):
    """A table; the first cell of a row names it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str


def badge(word: str, kind: str | None = None, small: str = "") -> Cell:
    """A word with its colour."""
    return Cell(word, small, f"badge {kind or word.replace(' ', '-')}")


def candidates(card: Scorecard, names: Sequence[str] | None = None, caption: str = "Every candidate") -> Table:
    """One column per candidate, one row per metric in the order of the labels; only `names` where given."""
    measured = {name for one in card.candidates for name in one.metrics}
    rows = [name for name in LABELS if name in measured] + sorted(measured - LABELS.keys())
    shown = [name for name in rows if names is None or name in names]
    with_any = [one for one in card.candidates if any(name in one.metrics for name in shown)]
    return Table(
        ["", *(candidate(one.name) for one in with_any)],
        [[_named(name), *(_with_ends(name, one.metrics.get(name)) for one in with_any)] for name in shown],
        caption,
    )


def parity(report: ParityReport) -> Table:
    """Every check with the limits it was held to."""
    head = ("file", "made from", "change of loss", "KL", "top-1 agreement", "ends by itself", "")
    return Table(head, list(map(_check, report.checks)), "File by file")


def costs(card: Scorecard, report: ParityReport | None) -> Table:
    """Size, speed and memory of what can be run."""
    if report is None:
        rows = [(candidate(one.name), size(one.bytes), speed(one.tokens_per_second)) for one in card.candidates]
        return Table(("", "size", "tokens/s"), rows, "What each candidate costs to run")
    head = ("", "size", "tokens/s", "prompt tokens/s", "time to first token", "memory")
    return Table(head, list(map(_cost, report.checks)), "What each file costs to run")


def baselines(rows: Sequence[BaselineComparison]) -> list[Table]:
    """Further fair comparisons, a table each, of what has a verdict."""
    return [
        Table(
            ("", "verdict", "difference (95 %)"),
            [
                (label(name).text, badge(word), difference(name, row.differences[name]))
                for name, word in row.verdicts.items()
            ],
            f"{candidate(row.tuned)} against {candidate(row.base)}",
        )
        for row in rows
    ]


def phrases(rows: Sequence[Phrase]) -> Table:
    """What the teacher says far more often than the base."""
    cells = [(f"“{p.phrase}”", *(f"{rate:.1f}" for rate in (p.teacher, p.base, p.tuned)), str(p.talks)) for p in rows]
    return Table(("", "teacher", "base", "tuned", "talks"), cells, "Signature phrases, per 1,000 words")


def topics(rows: Sequence[TopicComparison]) -> Table:
    """Keyword coverage topic by topic."""
    cells = [
        (
            row.topic,
            str(row.answers),
            number("keyword_coverage", row.base),
            number("keyword_coverage", row.tuned),
            difference("keyword_coverage", row.difference) if row.difference else "one document: no interval",
        )
        for row in rows
    ]
    head = ("", "answers", "base", "tuned", "difference (95 %)")
    return Table(head, cells, "What right answers must mention, by topic")


BASIS = {
    "section": "Sections it was not trained on: does it generalize?",
    "question": "Unseen questions about sections it was trained on: does it recall?",
    "across": "Unseen questions that need two trained sections: does it combine?",
}


def basis(scores: Sequence[BasisScore]) -> Table:
    """Right answers and loss, apart for what was held out how."""
    rows: list[list[str | Cell]] = [
        [
            Cell(BASIS[score.basis], f"{score.questions} questions, {score.sections} sections"),
            *(_with_ends("correct", score.metrics.get(name, {}).get("correct")) for name in ("base", "adapter")),
            difference("correct", score.differences["correct"]) if "correct" in score.differences else "",
            difference("nll_per_token", score.differences["nll_per_token"]),
        ]
        for score in scores
    ]
    head = ("", "base, right", "tuned, right", "difference (95 %)", "change of loss")
    return Table(head, rows, "What was held out, and how")


def manuals(found: Manuals) -> Table:
    """Right answers and the verifier's rate of approval, manual by manual."""
    rows: list[list[str | Cell]] = [
        [
            Cell(one_line(score.manual, 120), f"{score.questions} held-out questions"),
            *(_with_ends("correct", score.metrics.get(name, {}).get("correct")) for name in ("base", "adapter")),
            _with_ends("correct", score.approval),
        ]
        for score in found.scores
    ]
    return Table(("", "base, right", "tuned, right", "the verifier approves"), rows, "Manual by manual")


def arms(found: AgainstRetrieval) -> Table:
    """The four ways to answer."""
    ways = list(dict.fromkeys(way for arm in found.arms for way in arm.usd_per_1000))
    graded = any(arm.graded for arm in found.arms)
    head = ["", "right", *(["right, by a judge"] if graded else []), "loss", "seconds", "prompt tokens"]
    rows: list[list[str | Cell]] = [
        [
            Cell(candidate(arm.name), "to take" if arm.name == found.best else ""),
            _with_ends("correct", arm.correct),
            *([_with_ends("correct", arm.graded)] if graded else []),
            _with_ends("nll_per_token", arm.nll),
            _with_ends("seconds", arm.seconds),
            f"{arm.prompt_tokens:,.0f}" if arm.prompt_tokens is not None else "",
            *(_dollars(arm.usd_per_1000.get(way)) for way in ways),
        ]
        for arm in found.arms
    ]
    return Table([*head, *(f"USD for 1,000 on {way}" for way in ways)], rows, "By heart, or with passages")


def _dollars(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("")
    return Cell(f"{interval.value:.4g}", f"{interval.low:.4g} to {interval.high:.4g}")


def judge(score: JudgeScore) -> Table:
    """What a judge chose, and how far it can be trusted."""
    pairs = score.wins + score.ties + score.losses
    rows = {
        "Tuned won, tied, lost": f"{score.wins}, {score.ties}, {score.losses} of {pairs}",
        "Win rate, a tie as half": _share(score.win_rate),
        "Sign test": chance(score.sign_p),
        "Wins minus losses in whose answer serves better, manner left out": (
            difference("judge_answer", score.answers) if score.answers else ""
        ),
        "Wins minus losses among answers of similar length": (
            difference("judge_voice", score.matched) if score.matched else "too few of them"
        ),
        "Chose the answer that stood first (50 % is fair)": _share(score.first_slot),
        "Same verdict in both orders": _share(score.consistency),
        "Contradict the reference": ", ".join(f"{k} {v}" for k, v in score.contradictions.items()) or "none",
        "Agreement with a person": _share(score.agreement) or "no person has compared them yet",
        "Cohen’s kappa with that person": f"{score.kappa:.2f}" if score.kappa is not None else "",
        "Questions without a verdict": str(score.errors),
    }
    return Table(("", score.judge), [row for row in rows.items() if row[1]], "The judge, blind, both orders")


def person(verdict: Verdict) -> Table:
    """What a person chose, blind."""
    rows = [
        ("Tuned chosen, tied, base chosen", f"{verdict.wins}, {verdict.ties}, {verdict.losses}"),
        ("Share of the decided pairs", _share(verdict.win_rate)),
        ("Sign test", chance(verdict.sign_p)),
    ]
    return Table(("", "a person"), rows, "A person, blind")


def record(card: object) -> dict[str, str]:
    """A record or mapping as terms and their values; the names of nested ones are joined with commas."""
    raw = card.model_dump() if isinstance(card, BaseModel) else card
    flat = dict(_flat(raw)) if isinstance(raw, Mapping) else {"value": raw}
    return {key: one_line(_value(value), VALUE_CHARACTERS) for key, value in flat.items()}


def speed(tokens_per_second: float | None) -> str:
    """Tokens per second, '' where unknown."""
    return f"{tokens_per_second:,.0f}" if tokens_per_second else ""


def _named(name: str) -> Cell:
    text = label(name).text
    return Cell(text, kind="part" if text[:1].islower() and name in LABELS else "")


def _with_ends(name: str, interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("")
    low, high = number(name, interval.low), number(name, interval.high)
    return Cell(number(name, interval.value), f"{low.removesuffix(' %')} to {high}" if low != high else "")


def _check(check: ParityCheck) -> list[str | Cell]:
    limits, ended = check.limits, check.stopping.ended if check.stopping else None
    change = kl = same = ends = word = Cell("")
    if check.nll_change:
        change = Cell(
            signed("nll_per_token", check.nll_change.value), _limit("± {:g} allowed", limits.get("nll_change"))
        )
    if check.kl:
        bound = "" if check.kl_exact else "≥ "
        kl = Cell(f"{bound}{check.kl.value:.4f}", _limit("up to {:g} allowed", limits.get("kl")))
    least = limits.get("top1_agreement")
    if check.top1_agreement:
        same = Cell(_percent(check.top1_agreement.value, 1), f"at least {_percent(least)}" if least else "")
    if ended:
        ends = Cell(_percent(ended.value), f"of {ended.n}")
    if check.refused or check.reference:
        word = badge("refused", "worse") if check.refused else badge("as trained", "better")
    return [candidate(check.name), candidate(check.reference or ""), change, kl, same, ends, word]


def _limit(text: str, limit: float | None) -> str:
    return "" if limit is None else text.format(limit)


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _cost(check: ParityCheck) -> list[str]:
    wait = f"{check.first_token_seconds:.2f} s" if check.first_token_seconds is not None else ""
    speeds = speed(check.tokens_per_second), speed(check.prompt_tokens_per_second)
    return [candidate(check.name), size(check.bytes), *speeds, wait, size(check.peak_memory_bytes)]


def _share(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _flat(raw: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        if isinstance(value, BaseModel):
            value = value.model_dump()
        # Field names are read as words; names such as Q4_K stay what they are.
        name = str(key).replace("_", " ") if str(key).islower() else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}", value


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value)
    return "none" if value is None else str(value)
