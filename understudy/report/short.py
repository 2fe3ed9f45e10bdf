"""The scorecard in short as markdown: plain for a model's card, with pictures for the Prefect UI."""

from understudy.records import Interval, Scorecard
from understudy.report import LEARNED, candidate, difference, label, number, parity_table, plain, size, tables, words
from understudy.report.charts import forests, loss_curve
from understudy.report.drawing import data_uri, standing_alone
from understudy.report.evidence import Evidence
from understudy.report.shapes import forms, lengths
from understudy.report.training import POINTS_DRAWN, thinned
from understudy.scoring import preferences

MAIN_METRICS = ("nll_per_token", "well_formatted", "format_gap", "broken")
ARTIFACT_BYTES = 200_000
"""The UI lists whole bodies: pictures that would make it larger are left out."""


def markdown(scorecard: Scorecard) -> str:
    """What to do, verdicts and candidates as GitHub-flavoured markdown, without pictures."""
    lines = [f"## {plain(scorecard.channel)}: {plain(scorecard.run)}", "", words.basis(scorecard), ""]
    if not scorecard.honest:
        lines += [f"> **Warning.** {words.DISHONEST}", ""]
    if scorecard.decision:
        action, reasons = words.decision(scorecard)
        lines += [f"**{plain(action)}.** {' '.join(plain(reason) for reason in reasons)}", ""]
    found = {n: i for n, i in scorecard.differences.items() if n in scorecard.verdicts}
    ordered = [n for n in LEARNED if n in found] + [n for n in found if n not in LEARNED]
    lines += _table(
        ["", "verdict", "tuned minus base (95 %)"],
        [[plain(label(n).text), f"**{scorecard.verdicts[n]}**", difference(n, found[n])] for n in ordered],
    )
    names = [name for name in MAIN_METRICS if any(name in c.metrics for c in scorecard.candidates)]
    lines += _table(
        ["candidate", *(label(name).text for name in names), "size", "tokens/s"],
        [
            [
                plain(candidate(c.name)),
                *(_short(name, c.metrics.get(name)) for name in names),
                size(c.bytes),
                tables.speed(c),
            ]
            for c in scorecard.candidates
        ],
    )
    return "\n".join(lines).rstrip() + "\n"


def artifact(told: Evidence) -> str:
    """The page in short with its pictures inside, under 200 KB, for the Prefect UI."""
    card = told.scorecard
    parts = [markdown(card)]
    if told.parity:
        parts += ["## Is the exported file what was trained?", parity_table.markdown(told.parity)]
    if card.judge:
        judged = f"{card.judge.wins} won, {card.judge.ties} tied, {card.judge.losses} lost"
        parts.append(
            f"Judge {plain(card.judge.judge)}, blind, both orders: {judged} ({preferences.chance(card.judge.sign_p)})."
        )
    if human := preferences.verdict(told.people):
        parts.append(f"A person, blind: {plain(human.meaning)}")
    parts += [f"- {plain(line)}" for line in words.missing(told)]
    return _with_pictures("\n\n".join(parts), _pictures(told))


def _pictures(told: Evidence) -> list[tuple[str, str]]:
    """(what it shows, drawing), the most telling first."""
    said = {name: [s.text for s in told.samples.get(key, ()) if s.text is not None] for name, key in _SIDES.items()}
    sides = {"reference": [pair.answer for pair in told.pairs], **said}
    drawn = [("Tuned minus base", svg) for svg in forests(told.scorecard.differences)]
    if all(said.values()):
        drawn += [("Form of the answers", forms(sides)), ("Length of the answers", lengths(sides))]
    drawn.append(("Loss over the training", loss_curve(thinned(told.curve, POINTS_DRAWN), told.kept)))
    return [(words, svg) for words, svg in drawn if svg]


def _with_pictures(text: str, drawn: list[tuple[str, str]]) -> str:
    size_bytes, pictures = len(text.encode()), []
    for what, svg in drawn:
        line = f"![{what}]({data_uri(standing_alone(svg))})"
        if size_bytes + len(line) + 2 < ARTIFACT_BYTES:
            pictures.append(line)
            size_bytes += len(line) + 2
    return "\n\n".join([text.rstrip(), *pictures]) + "\n"


def _short(name: str, interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{number(name, interval.value)} ({number(name, interval.low)} to {number(name, interval.high)})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)] + [""]


_SIDES = {"base": "base", "tuned": "adapter"}
