"""The scorecard in short as markdown: plain for a model's card, with pictures for the Prefect UI."""

from collections.abc import Iterator

from understudy.records import Scorecard
from understudy.report import (
    LEARNED,
    answers,
    candidate,
    difference,
    label,
    parity_table,
    size,
    tables,
    with_interval,
    words,
)
from understudy.report.charts import forests, loss_curve
from understudy.report.drawing import data_uri, standing_alone
from understudy.report.evidence import Evidence
from understudy.report.findings import WORDS, findings
from understudy.report.outcome import outcome
from understudy.report.shapes import forms, lengths
from understudy.report.training import POINTS_DRAWN, thinned
from understudy.scoring import preferences
from understudy.text.table import plain, table
from understudy.text.words import one_line

MAIN_METRICS = ("nll_per_token", "well_formatted", "format_gap", "broken")
ANSWER_CHARACTERS = 600
ARTIFACT_BYTES = 200_000
"""The UI lists whole bodies: pictures that would make it larger are left out."""


def markdown(card: Scorecard) -> str:
    """What to do, verdicts and candidates as GitHub-flavoured markdown, without pictures."""
    parts = [f"## {plain(card.channel)}: {plain(card.run)}", words.basis(card)]
    if not card.honest:
        parts.append(f"> **Warning.** {words.DISHONEST}")
    if card.decision:
        advice = words.decision(card)
        parts.append(f"**{plain(advice.action)}.** {' '.join(map(plain, advice.reasons))}")
    measured = {name: card.differences[name] for name in card.verdicts if name in card.differences}
    ordered = [name for name in LEARNED if name in measured] + [name for name in measured if name not in LEARNED]
    verdicts = [(plain(label(n).text), f"**{card.verdicts[n]}**", difference(n, measured[n])) for n in ordered]
    names = [name for name in MAIN_METRICS if any(name in c.metrics for c in card.candidates)]
    candidates = [
        (
            plain(candidate(one.name)),
            *(with_interval(name, one.metrics.get(name)) for name in names),
            size(one.bytes),
            tables.speed(one.tokens_per_second),
        )
        for one in card.candidates
    ]
    parts.append(table(["", "verdict", "tuned minus base (95 %)"], verdicts))
    parts.append(table(["candidate", *(label(name).text for name in names), "size", "tokens/s"], candidates))
    return "\n\n".join(part for part in parts if part) + "\n"


def artifact(evidence: Evidence) -> str:
    """The page in short with its pictures inside, under 200 KB, for the Prefect UI."""
    card, end = evidence.scorecard, outcome(evidence)
    parts = [f"# {plain(end.headline)}", plain(end.sentence)]
    if end.advice:
        parts.append(f"Next: {plain(end.advice)}" + (f" The same command with `{end.change}`." if end.change else ""))
    parts.append(_for_a_person(evidence))
    parts.append(markdown(card))
    if evidence.parity:
        parts += ["## Is the exported file what was trained?", parity_table.markdown(evidence.parity)]
    if card.judge:
        judged = f"{card.judge.wins} won, {card.judge.ties} tied, {card.judge.losses} lost"
        parts.append(
            f"Judge {plain(card.judge.judge)}, blind, both orders: {judged} ({preferences.chance(card.judge.sign_p)})."
        )
    if human := preferences.verdict(evidence.people):
        parts.append(f"A person, blind: {plain(human.meaning)}")
    parts += [f"- {plain(line)}" for line in words.missing(evidence)]
    text = "\n\n".join(parts).rstrip()
    for what, svg in _pictures(evidence):
        longer = f"{text}\n\n![{what}]({data_uri(standing_alone(svg))})"
        text = longer if len(longer.encode()) < ARTIFACT_BYTES - 2 else text
    return f"{text}\n"


def _for_a_person(evidence: Evidence) -> str:
    """The typical question with its answers, and what the numbers say in plain words."""
    lines = []
    for one in list(answers.first(evidence.samples, evidence.pairs).values())[:1]:
        lines = [f"**{plain(one.pair.question)}**", *(f"*{name}:* {plain(_cut(text))}" for name, text, _ in one.texts)]
    lines += [
        f"- **{WORDS[one.word]}**: {plain(one.name)}, {one.numbers}; {one.certainty}"
        for one in findings(evidence.scorecard)
    ]
    return "\n\n".join(lines)


def _cut(text: str) -> str:
    return one_line(text, ANSWER_CHARACTERS) or "(nothing)"


def _pictures(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """(what it shows, chart), what matters most first."""
    yield from (("Tuned minus base", svg) for svg in forests(evidence.scorecard.differences))
    texts = evidence.answers
    if texts["base"] and texts["tuned"]:
        yield "Form of the answers", forms(texts)
        yield "Length of the answers", lengths(texts)
    if curve := loss_curve(thinned(evidence.curve, POINTS_DRAWN), evidence.kept):
        yield "Loss over the training", curve
