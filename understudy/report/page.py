"""
report.html, one file that asks the network for nothing and runs no script.

Order: what to do and each verdict in a sentence; did it learn; did it break; is the exported file what was
trained; what does it cost to run; answers side by side; training curves; run record.
"""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from understudy.records import Comparison, Pair, ParityReport, Sample, Scorecard
from understudy.report import LEARNED, answers, difference, label, number, tables, words
from understudy.report.charts import forests, loss_curve, small_curves
from understudy.report.evidence import Evidence
from understudy.report.shapes import forms, lengths
from understudy.scoring import preferences

BROKEN = (
    "broken", "empty", "ran_out", "loops", "token_leak", "too_short", "wrong_script", "wrong_language", "copied",
    "instructions", "choices", "off_topic", "keyword_coverage", "cites", "declines_rightly", "refusal_precision",
    "refusal_recall",
)  # fmt: skip
_PAIRED = (
    "Tuned minus base over the same held-out questions. A line is the 95 % interval, by bootstrap over talks; where it "
    "crosses the dashed zero, the data do not tell the two apart."
)
_PARITY = "Each file on the same held-out answers, against the one it was made of. Small print: what is allowed."
_COSTS = (
    "Speeds compare within one engine only: adapter and fused run in MLX, several answers at once; files in llama.cpp."
)
_SAMPLES = "Not picked by hand: by how far the loss fell, and by a draw. Hide the names to judge for yourself."
_NO_PARITY = "The files were not checked against what was trained; run with --only score, which writes parity.json."
_NO_ANSWERS = "Base and tuned answered no question in common that is still in the dataset; score the run again."
_NO_SHAPES = "No answers are here to draw lengths and forms of; score the run again, with evaluate.questions above 0."
_NO_PHRASES = "No signature phrases: they need the answers of the train side, of the base and of the tuned model."
_NO_CURVE = "No losses were recorded: metrics.jsonl of the adapter is empty or gone."


def page(
    scorecard: Scorecard,
    metrics_rows: Sequence[Mapping[str, Any]],
    samples: Mapping[str, Sequence[Sample]],
    pairs: Sequence[Pair],
    cards: Mapping[str, object],
    dataset: Mapping[str, int],
    parity: ParityReport | None = None,
    train: Sequence[Pair] = (),
    people: Sequence[Comparison] = (),
) -> str:
    """The whole page as HTML, from the parts of an Evidence."""
    return html(Evidence(scorecard, metrics_rows, samples, pairs, cards, dataset, parity, train, people))


def html(told: Evidence) -> str:
    """The whole page as HTML. Everything that comes from data is escaped."""
    card = told.scorecard
    sections = [
        _head(card),
        _section("Did it learn?", _PAIRED, _learned(told)),
        _section("Did it break?", "", _broke(card)),
        _section(
            "Is the exported file what was trained?",
            _PARITY,
            tables.parity(told.parity) if told.parity else "",
            _NO_PARITY,
        ),
        _section("What does it cost to run?", _COSTS, tables.costs(card, told.parity), "Nothing was measured."),
        _section("Answers side by side", _SAMPLES, answers.html(told.samples, told.pairs, card.run), _NO_ANSWERS),
        _section("Training curves", "", _curves(told), _NO_CURVE),
        _section("Run record", "", _record(told), "Nothing is known of the run."),
    ]
    package = files("understudy.report")
    return Template(package.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(f"{card.channel}: {card.run}"),
        style=package.joinpath("page.css").read_text("utf-8"),
        body="\n".join(sections),
    )


def _head(card: Scorecard) -> str:
    warning = "" if card.honest else f'<p class="warning"><strong>Read with care.</strong> {words.DISHONEST}</p>'
    action, reasons = words.decision(card)
    kind = "none" if card.decision is None else "better" if card.decision.action == "ship" else "open"
    because = "".join(f"<p>{escape(reason)}</p>" for reason in reasons)
    return (
        f'<header><h1>{escape(card.channel)}</h1><p class="lead">Run {escape(card.run)}. {words.basis(card)} '
        f"Held-out rows <code>{escape(card.test_sha256[:12])}</code>.</p>{warning}"
        f'<div class="decision {kind}"><h2>{escape(action)}</h2>{because}</div></header>'
        f'<section aria-label="Verdicts">{_verdicts(card)}</section>'
    )


def _verdicts(card: Scorecard) -> str:
    """Every verdict with its numbers and its reason, those of learning first."""
    learned = [n for n in LEARNED if n in card.verdicts]
    rest = [n for n in card.verdicts if n not in learned]
    rows = "".join(
        f"<li>{tables.badge(card.verdicts[name])}<div><strong>{escape(label(name).text)}</strong> "
        f'<span class="numbers">{_change(name, card)}</span><p class="soft">{escape(_why(name, card))}</p></div></li>'
        for name in (*learned, *rest)
        if name in card.differences
    )
    return f'<ul class="verdicts">{rows}</ul>' if rows else "<p>Nothing could be compared.</p>"


def _why(name: str, card: Scorecard) -> str:
    return words.why(name, card.differences[name], card.verdicts[name], card)


def _change(name: str, card: Scorecard) -> str:
    scored = {candidate.name: candidate.metrics for candidate in card.candidates}
    before, after = (scored.get(c, {}).get(name) for c in ("base", "adapter"))
    both = f"{number(name, before.value)} → {number(name, after.value)}, " if before and after else ""
    return both + difference(name, card.differences[name])


def _learned(told: Evidence) -> str:
    card = told.scorecard
    main = {n: i for n, i in card.differences.items() if n in LEARNED or n.startswith("nll_")}
    human = preferences.verdict(told.people)
    said = {"reference": [pair.answer for pair in told.pairs], "base": _texts(told, "base")}
    said["tuned"] = _texts(told, "adapter")
    shapes = [lengths(said), forms(said)] if said["base"] and said["tuned"] else []
    parts = [
        _charts(forests(main)) or "<p>Nothing could be compared.</p>",
        _titled("Length and form of the answers", _charts(shapes), _NO_SHAPES),
        _titled("Signature phrases", tables.phrases(card.phrases), _NO_PHRASES),
        tables.baselines(card.baselines),
        tables.judge(card.judge) if card.judge else "",
        tables.people(human) if human else "",
        "".join(f'<p class="missing">{escape(line)}</p>' for line in words.missing(told)),
    ]
    return "".join(parts)


def _broke(card: Scorecard) -> str:
    rest = {n: i for n, i in card.differences.items() if n in BROKEN or n.startswith("kl_")}
    shown = {n: i for n, i in rest.items() if n in card.verdicts or n.startswith("kl_")}
    notes = "".join(f"<li>{escape(note)}</li>" for note in card.notes)
    return (
        (_charts(forests(shown)) or "<p>Nothing could be compared.</p>")
        + tables.candidates(card, BROKEN, "Share of the answers, and of the items of each suite")
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _curves(told: Evidence) -> str:
    drawn = loss_curve(told.curve, told.kept)
    return (f'<div class="chart wide">{drawn}</div>' if drawn else "") + _charts(small_curves(told.curve))


def _record(told: Evidence) -> str:
    every = tables.candidates(told.scorecard)
    folded = f"<details><summary>Every number of every candidate</summary>{every}</details>" if every else ""
    cards = {"Dataset": told.dataset, **told.cards}
    kept = "".join(tables.record(title, card) for title, card in cards.items())
    return folded + (f'<div class="records">{kept}</div>' if kept else "")


def _texts(told: Evidence, name: str) -> list[str]:
    return [sample.text for sample in told.samples.get(name, ()) if sample.text is not None]


def _charts(drawn: Sequence[str]) -> str:
    inside = "".join(f'<div class="chart">{drawing}</div>' for drawing in drawn if drawing)
    return f'<div class="charts">{inside}</div>' if inside else ""


def _titled(title: str, body: str, otherwise: str) -> str:
    return f"<h3>{title}</h3>{body or _missing(otherwise)}"


def _section(title: str, lead: str, body: str, otherwise: str = "") -> str:
    said = f'<p class="soft">{lead}</p>' if lead and body else ""
    return f"<section><h2>{title}</h2>{said}{body or _missing(otherwise)}</section>"


def _missing(line: str) -> str:
    return f'<p class="missing">{escape(line)}</p>'
