"""
report.html, one file that asks the network for nothing, and the same in short as markdown.

Order: did it learn and did it break, in words; the loss curve; every candidate; every hop from
the adapter to the exported files; answers side by side; what it was trained on; the run record.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from pydantic import BaseModel

from understudy.records import CandidateScore, Interval, Pair, Sample, Scorecard
from understudy.report import LABELS, Hop, difference, hops, label, number, signed, size
from understudy.report.charts import forest, loss_curve
from understudy.text import one_line

SAMPLES_SHOWN = 6
ANSWER_CHARACTERS = 3_000
VALUE_CHARACTERS = 300
MAIN_METRICS = ("nll_per_token", "well_formatted", "broken")


def page(
    scorecard: Scorecard,
    metrics_rows: Sequence[Mapping[str, Any]],
    samples: Mapping[str, Sequence[Sample]],
    pairs: Sequence[Pair],
    cards: Mapping[str, object],
    dataset: Mapping[str, int],
) -> str:
    """The whole page as HTML. Everything that comes from data is escaped.

    `metrics_rows` are the lines of metrics.jsonl; `samples` maps candidate > samples; `pairs` are
    the held-out pairs; `cards` maps a title to a record or a mapping; `dataset` a name to a count.
    """
    sections = [
        _head(scorecard),
        _verdicts(scorecard),
        _section("How the loss fell", "", _chart(loss_curve(metrics_rows), "No losses were recorded.")),
        _section("Tuned minus base", _PAIRED, _chart(forest(scorecard.differences), "Nothing could be compared.")),
        _section("Every candidate", _INTERVALS, _candidates(scorecard)),
        _section("Is the exported file what was trained?", _HOPS, _hops(scorecard)),
        _section("Answers side by side", _SAMPLES, _answers(samples, pairs)),
        _section("Dataset", "", _record("Counts", dataset)),
        _section("Run record", "", "".join(_record(title, card) for title, card in cards.items())),
    ]
    package = files("understudy.report")
    return Template(package.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(f"{scorecard.channel}: {scorecard.run}"),
        style=package.joinpath("page.css").read_text("utf-8"),
        body="\n".join(section for section in sections if section),
    )


def markdown(scorecard: Scorecard) -> str:
    """Verdicts, candidates and hops as GitHub-flavoured markdown."""
    lines = [f"## {_plain(scorecard.channel)}: {_plain(scorecard.run)}", "", _basis(scorecard), ""]
    if not scorecard.honest:
        lines += [f"> **Warning.** {_DISHONEST}", ""]
    lines += _table(
        ["", "verdict", "tuned minus base (95 %)"],
        [[label(n).text, f"**{v}**", difference(n, scorecard.differences[n])] for n, v in scorecard.verdicts.items()],
    )
    names = [name for name in MAIN_METRICS if any(name in c.metrics for c in scorecard.candidates)]
    lines += _table(
        ["candidate", *(label(name).text for name in names), "size", "tokens/s"],
        [
            [_plain(c.name), *(_short(name, c.metrics.get(name)) for name in names), size(c.bytes), _speed(c)]
            for c in scorecard.candidates
        ],
    )
    changed = [hop for hop in hops(scorecard) if hop.change is not None]
    lines += _table(
        ["hop", "change of loss", "allowed", ""],
        [
            [
                f"{_plain(h.made_of or '')} > {_plain(h.name)}",
                signed("nll_per_token", h.change or 0),
                f"{h.limit:g}",
                _kept(h),
            ]
            for h in changed
        ],
    )
    return "\n".join(lines).rstrip() + "\n"


_DISHONEST = (
    "The held-out questions come from talks that were also trained on, so nothing here shows that anything "
    "was learned. Add talks until whole talks can be held out."
)
_PAIRED = (
    "The same held-out questions, answered and scored before and after. A line is the 95 % interval, by bootstrap over "
    "talks; where it crosses the dashed zero, the data do not tell the two apart."
)
_INTERVALS = "In small print the 95 % interval: over talks for means, Wilson's for shares."
_HOPS = (
    "The loss of each file on the same answers, against the file it was made of. Speeds compare within one engine "
    "only: the first rows run in MLX, several answers at once; GGUF files in llama.cpp, one after the other."
)
_SAMPLES = "Not picked by hand: evenly spaced from the question whose loss fell most to the one whose loss fell least."


def _head(card: Scorecard) -> str:
    warning = "" if card.honest else f'<p class="warning"><strong>Read with care.</strong> {_DISHONEST}</p>'
    digest = escape(card.test_sha256[:12])
    return (
        f'<h1>{escape(card.channel)}</h1><p class="lead">{escape(card.run)}. {_basis(card)} '
        f"Held-out rows <code>{digest}</code>.</p>{warning}"
    )


def _basis(card: Scorecard) -> str:
    talks = f"{card.test_documents} talk{'' if card.test_documents == 1 else 's'}"
    return f"Measured on {card.test_pairs} held-out pairs of {talks}."


def _verdicts(card: Scorecard) -> str:
    scored = {candidate.name: candidate.metrics for candidate in card.candidates}
    cards = []
    for name, word in card.verdicts.items():
        before, after = (scored.get(c, {}).get(name) for c in ("base", "adapter"))
        values = f"{number(name, before.value)} → {number(name, after.value)}" if before and after else ""
        cards.append(
            f'<div class="card"><h3>{escape(label(name).text)}</h3>'
            f'<span class="badge {word.replace(" ", "-")}">{word}</span><p class="big">{values}</p>'
            f'<p class="soft">{difference(name, card.differences[name])}</p></div>'
        )
    return f'<div class="verdicts">{"".join(cards)}</div>' if cards else "<p>Nothing could be compared.</p>"


def _candidates(card: Scorecard) -> str:
    names = [n for n in LABELS if any(n in c.metrics for c in card.candidates)]
    names += sorted({n for c in card.candidates for n in c.metrics} - set(names))
    head = "".join(f"<th>{escape(c.name)}</th>" for c in card.candidates)
    body = "".join(
        f'<tr class="{"part" if label(name).text[0].islower() and name in LABELS else ""}">'
        f"<th>{escape(label(name).text)}</th>{''.join(_cell(name, c.metrics.get(name)) for c in card.candidates)}</tr>"
        for name in names
    )
    body += f"<tr><th>Size on disk</th>{''.join(f'<td>{size(c.bytes)}</td>' for c in card.candidates)}</tr>"
    body += f"<tr><th>Tokens per second</th>{''.join(f'<td>{_speed(c)}</td>' for c in card.candidates)}</tr>"
    return f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(name: str, interval: Interval | None) -> str:
    if interval is None:
        return "<td></td>"
    ends = f"{number(name, interval.low)} to {number(name, interval.high)}"
    return f"<td>{number(name, interval.value)}<small>{ends}</small></td>"


def _hops(card: Scorecard) -> str:
    rows = []
    for hop in hops(card):
        word = _kept(hop)
        badge = f'<span class="badge {"better" if word == "as trained" else "strayed"}">{word}</span>' if word else ""
        change = signed("nll_per_token", hop.change) if hop.change is not None else ""
        limit = f"± {hop.limit:g}" if hop.limit is not None else ""
        speed = f"{hop.tokens_per_second:,.0f}" if hop.tokens_per_second else ""
        rows.append(
            f"<tr><td>{escape(hop.name)}</td><td>{escape(hop.made_of or '')}</td><td>{hop.nll.value:.3f}</td>"
            f"<td>{change}</td><td>{limit}</td><td>{badge}</td><td>{size(hop.bytes)}</td><td>{speed}</td></tr>"
        )
    head = "".join(f"<th>{t}</th>" for t in ("file", "made of", "loss", "change", "allowed", "", "size", "tokens/s"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _kept(hop: Hop) -> str:
    if hop.change is None or hop.limit is None:
        return ""
    return "as trained" if abs(hop.change) <= hop.limit else "strayed"


def _answers(samples: Mapping[str, Sequence[Sample]], pairs: Sequence[Pair]) -> str:
    known = {pair.pair_id: pair for pair in pairs}
    base = {sample.pair_id: sample for sample in samples.get("base", ())}
    both = [
        (tuned, base[tuned.pair_id])
        for tuned in samples.get("adapter", ())
        if tuned.pair_id in known
        and tuned.pair_id in base
        and tuned.text is not None
        and base[tuned.pair_id].text is not None
    ]
    both.sort(key=lambda two: (two[0].nll - two[1].nll) / two[0].tokens)
    shown = min(SAMPLES_SHOWN, len(both))
    places = sorted({round(i * (len(both) - 1) / max(1, shown - 1)) for i in range(shown)})
    return "".join(_answer(known[both[p][0].pair_id], *both[p]) for p in places)


def _answer(pair: Pair, tuned: Sample, base: Sample) -> str:
    columns = (
        ("base", base.text or "", base.stopped),
        ("tuned", tuned.text or "", tuned.stopped),
        ("reference", pair.answer, None),
    )
    cells = "".join(
        f'<div class="card"><h4>{title}{", cut at the limit" if stopped is False else ""}</h4>'
        f'<div class="text">{_shown(text)}</div></div>'
        for title, text, stopped in columns
    )
    return f'<div class="sample"><h3>{escape(pair.question)}</h3><div class="answers">{cells}</div></div>'


def _shown(text: str) -> str:
    """Escaped, then bold as bold; the rest of the markdown stays as it was written."""
    cut = text if len(text) <= ANSWER_CHARACTERS else text[:ANSWER_CHARACTERS] + " …"
    bold = re.sub(r"\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*", r"<strong>\1</strong>", escape(cut))
    return bold if text.strip() else '<span class="soft">(nothing)</span>'


def _record(title: str, card: object) -> str:
    """A record or mapping as a list of terms; nested mappings are flattened with commas."""
    raw = card.model_dump() if isinstance(card, BaseModel) else card
    flat = dict(_flat(raw)) if isinstance(raw, Mapping) else {"value": raw}
    items = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(one_line(_value(v), VALUE_CHARACTERS))}</dd>" for key, v in flat.items()
    )
    return f'<div class="card"><h3>{escape(title)}</h3><dl>{items}</dl></div>' if items else ""


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


def _section(title: str, words: str, body: str) -> str:
    lead = f'<p class="soft">{words}</p>' if words else ""
    inside = f'<div class="records">{body}</div>' if title in ("Run record", "Dataset") else body
    return f"<section><h2>{title}</h2>{lead}{inside}</section>" if body else ""


def _chart(svg: str, otherwise: str) -> str:
    return f'<div class="chart">{svg}</div>' if svg else f"<p>{otherwise}</p>"


def _speed(candidate: CandidateScore) -> str:
    return f"{candidate.tokens_per_second:,.0f}" if candidate.tokens_per_second else ""


def _short(name: str, interval: Interval | None) -> str:
    return (
        f"{number(name, interval.value)} ({number(name, interval.low)} to {number(name, interval.high)})"
        if interval
        else ""
    )


def _plain(text: str) -> str:
    """`text` on one line, with what markdown or HTML would read as markup escaped."""
    return re.sub(r"([\\`*_|\[\]#])", r"\\\1", escape(" ".join(text.split()), quote=False))


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)] + [""]
