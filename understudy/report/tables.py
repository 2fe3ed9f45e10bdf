"""The tables of the page as HTML; everything that comes from data is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel

from understudy.records import (
    BaselineComparison,
    CandidateScore,
    Interval,
    JudgeScore,
    ParityCheck,
    ParityReport,
    Phrase,
    Scorecard,
)
from understudy.report import LABELS, candidate, difference, label, number, signed, size
from understudy.scoring.preferences import Verdict, chance
from understudy.text.words import one_line

VALUE_CHARACTERS = 300
ROW_PARTS = ("nll_per_token", "well_formatted", "broken", "declines_rightly")
Cells = Sequence[str]


def table(head: Cells, rows: Iterable[Cells], caption: str = "") -> str:
    """A table that scrolls by itself where it is too wide; the first cell of a row names it. Cells are HTML."""
    titles = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    if not body:
        return ""
    words = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption or "Table", quote=True)}">'
        f"<table>{words}<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def badge(word: str, kind: str | None = None) -> str:
    """A word with its colour."""
    return f'<span class="badge {kind or word.replace(" ", "-")}">{escape(word)}</span>'


def candidates(card: Scorecard, names: Sequence[str] | None = None, caption: str = "Every candidate") -> str:
    """One column per candidate, one row per metric in the order of the labels; only `names` where given."""
    measured = {n for c in card.candidates for n in c.metrics}
    rows = [n for n in LABELS if n in measured] + sorted(measured - LABELS.keys())
    shown = [n for n in rows if names is None or n in names]
    with_any = [c for c in card.candidates if any(n in c.metrics for n in shown)]
    return table(
        ["", *(escape(candidate(c.name)) for c in with_any)],
        [[_named(n), *(_cell(n, c.metrics.get(n)) for c in with_any)] for n in shown],
        caption,
    )


def parity(report: ParityReport) -> str:
    """Every check against the limits it was held to, with the reasons of what is refused."""
    reasons = "".join(
        f"<li><strong>{escape(h.name)}</strong> is refused: {escape(h.refused)}</li>"
        for h in report.checks
        if h.refused
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    said = (
        f"The smallest file that is as trained: <strong>{escape(report.recommended)}</strong>."
        if report.recommended
        else "<strong>Every file is refused.</strong>"
    )
    head = ("file", "made of", "change of loss", "KL", "top-1 agreement", "ends by itself", "")
    return f"<p>{said}</p>{table(head, map(_parity_row, report.checks), 'File by file')}<ul>{reasons}{notes}</ul>"


def costs(card: Scorecard, report: ParityReport | None) -> str:
    """Size, speed and memory of what can be run."""
    if report is None:
        head = ("", "size", "tokens/s")
        return table(head, [_cost(c) for c in card.candidates], "What each candidate costs to run")
    rows = [
        [
            escape(candidate(check.name)),
            size(check.bytes),
            _amount(check.tokens_per_second),
            _amount(check.prompt_tokens_per_second),
            f"{check.first_token_seconds:.2f} s" if check.first_token_seconds is not None else "",
            size(check.peak_memory_bytes),
        ]
        for check in report.checks
    ]
    head = ("", "size", "tokens/s", "prompt tokens/s", "first token after", "memory")
    return table(head, rows, "What each file costs to run")


def baselines(rows: Sequence[BaselineComparison]) -> str:
    """Further fair comparisons, a table each, what has a word only."""
    return "".join(
        table(
            ("", "verdict", "difference (95 %)"),
            [
                (escape(label(name).text), badge(word), difference(name, one.differences[name]))
                for name, word in one.verdicts.items()
            ],
            f"{escape(candidate(one.tuned))} against {escape(candidate(one.base))}",
        )
        for one in rows
    )


def phrases(rows: Sequence[Phrase]) -> str:
    """What the teacher says far more often than the base."""
    cells = [
        [
            f"“{escape(row.phrase)}”",
            *(f"{rate:.1f}" for rate in (row.teacher, row.base, row.tuned)),
            str(row.talks),
        ]
        for row in rows
    ]
    return table(("", "teacher", "base", "tuned", "talks"), cells, "Signature phrases, per 1,000 words")


def judge(score: JudgeScore) -> str:
    """What a judge chose, and how far it can be trusted."""
    pairs = score.wins + score.ties + score.losses
    rows: list[Cells] = [
        ("Tuned won, tied, lost", f"{score.wins}, {score.ties}, {score.losses} of {pairs}"),
        ("Win rate, a tie as half", _share(score.win_rate)),
        ("Sign test", chance(score.sign_p)),
        ("Wins minus losses among answers of one length", _points(score.matched) or "too few of them"),
        ("Chose what stood first (50 % is fair)", _share(score.first_slot)),
        ("Same verdict in both orders", _share(score.consistency)),
        ("Contradict the reference", ", ".join(f"{k} {v}" for k, v in score.contradictions.items()) or "none"),
        ("Agreement with a person", _share(score.agreement) or "nobody compared yet"),
        ("Cohen’s kappa with that person", f"{score.kappa:.2f}" if score.kappa is not None else ""),
        ("Questions without a verdict", str(score.errors)),
    ]
    warning = f'<p class="warning">{escape(score.warning)}</p>' if score.warning else ""
    return warning + table(("", escape(score.judge)), [row for row in rows if row[1]], "The judge, blind, both orders")


def people(told: Verdict) -> str:
    """What a person chose, blind."""
    rows = [
        ("Tuned chosen, tied, base chosen", f"{told.wins}, {told.ties}, {told.losses}"),
        ("Share of the decided", _share(told.win_rate)),
        ("Sign test", chance(told.sign_p)),
    ]
    return f"<p>{escape(told.meaning)}</p>" + table(("", "a person"), rows, "A person, blind")


def record(title: str, card: object) -> str:
    """A record or mapping as a list of terms; nested mappings are flattened with commas."""
    raw = card.model_dump() if isinstance(card, BaseModel) else card
    flat = dict(_flat(raw)) if isinstance(raw, Mapping) else {"value": raw}
    items = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(one_line(_value(v), VALUE_CHARACTERS))}</dd>" for key, v in flat.items()
    )
    return f'<div class="card"><h3>{escape(title)}</h3><dl>{items}</dl></div>' if items else ""


def speed(one: CandidateScore) -> str:
    """Tokens per second, '' where unknown."""
    return _amount(one.tokens_per_second)


def _named(name: str) -> str:
    words = escape(label(name).text)
    return f'<span class="part">{words}</span>' if words[:1].islower() and name in LABELS else words


def _cell(name: str, interval: Interval | None) -> str:
    if interval is None:
        return ""
    ends = f"{number(name, interval.low).removesuffix(' %')} to {number(name, interval.high)}"
    return f"{number(name, interval.value)}<small>{ends}</small>"


def _parity_row(check: ParityCheck) -> Cells:
    limits = check.limits
    ended = check.stopping.ended if check.stopping else None
    change = kl = same = ""
    if check.nll_change:
        change = f"{signed('nll_per_token', check.nll_change.value)}{_allowed('± ', limits.get('nll_change'))}"
    if check.kl:
        kl = f"{'' if check.kl_exact else '≥ '}{check.kl.value:.4f}{_allowed('up to ', limits.get('kl'))}"
    if check.top1_agreement:
        least = limits.get("top1_agreement")
        same = f"{100 * check.top1_agreement.value:.1f} %" + (
            f"<small>at least {100 * least:.0f} %</small>" if least else ""
        )
    word = badge("refused", "worse") if check.refused else badge("as trained", "better") if check.reference else ""
    made_of = escape(candidate(check.reference)) if check.reference else ""
    ends = f"{100 * ended.value:.0f} %<small>of {ended.n}</small>" if ended else ""
    return [escape(candidate(check.name)), made_of, change, kl, same, ends, word]


def _allowed(before: str, limit: float | None) -> str:
    return f"<small>{before}{limit:g} allowed</small>" if limit is not None else ""


def _cost(one: CandidateScore) -> Cells:
    return [escape(candidate(one.name)), size(one.bytes), speed(one)]


def _amount(value: float | None) -> str:
    return f"{value:,.0f}" if value else ""


def _share(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _points(interval: Interval | None) -> str:
    return difference("judge_voice", interval) if interval else ""


def _flat(raw: Mapping[Any, Any], before: str = "") -> Iterable[tuple[str, Any]]:
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
