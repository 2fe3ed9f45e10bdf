"""
What a finished run says on the terminal: one sentence of verdict; one held-out question with its answers; where the
report is; what to type next. Numbers and files come after that.
"""

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from understudy.report import answers
from understudy.report.evidence import Evidence
from understudy.report.findings import WORDS, Finding, findings
from understudy.report.outcome import Outcome, outcome
from understudy.stages import install
from understudy.text.words import one_line

WIDEST = 100
LINES_OF_AN_ANSWER = 4
MARKS = {"better": "+", "no worse": "=", "worse": "-"}


def text(
    evidence: Evidence,
    files: Mapping[str, Path],
    report: Path,
    how_to_run: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> str:
    """The end of a run in plain text.

    `how_to_run` begins with the command to chat; `refused` maps a type to why that file is not offered; `command` is
    what was typed, which the next command builds on.
    """
    end, width = outcome(evidence), min(WIDEST, shutil.get_terminal_size().columns)
    lines = ["", *textwrap.wrap(end.verdict, width), ""]
    lines += _example(evidence, width)
    lines += [f"The report:  {report}"]
    if how_to_run:
        lines.append(f"Talk to it:  {how_to_run[0]}")
    lines += _next(end, command or sys.argv, width)
    lines += _numbers(evidence, width)
    why = {kind: f"  NOT OFFERED: {reason}" for kind, reason in (refused or {}).items()}
    lines += ["", "Files:", *(f"  {kind:<8} {file}{why.get(kind, '')}" for kind, file in files.items())]
    if how_to_run[1:]:
        lines += ["", "Other ways to run it:", *(f"  {line}" for line in how_to_run[1:])]
    return "\n".join(lines)


def again(command: Sequence[str], change: str) -> str:
    """The command that made this run, with `change` behind it, as it is typed."""
    name, *arguments = command
    ours = Path(name).name in ("understudy", "__main__.py")
    name = install.program() if ours else f"python {shlex.quote(name)}"
    return " ".join(filter(None, [name, shlex.join(arguments), change]))


def _example(evidence: Evidence, width: int) -> Iterator[str]:
    """The typical question with its answers, each cut to a few lines."""
    typical = next(iter(answers.first(evidence.samples, evidence.pairs).values()), None)
    if typical is None:
        return
    yield from textwrap.wrap(f"Asked: {typical.pair.question}", width, subsequent_indent=" " * 7)
    for name, answer, cut in typical.texts:
        short = textwrap.wrap(one_line(answer, 10_000) or "(nothing)", max(20, width - 11))
        if len(short) > LINES_OF_AN_ANSWER:
            short = [*short[: LINES_OF_AN_ANSWER - 1], short[LINES_OF_AN_ANSWER - 1] + " ..."]
        elif cut:
            short[-1] += " ... (cut at the limit)"
        for number, line in enumerate(short):
            yield f"  {name if not number else '':<8} {line}"
    yield ""


def _next(end: Outcome, command: Sequence[str], width: int) -> Iterator[str]:
    if end.advice:
        yield from textwrap.wrap(f"To do better: {end.advice}", width, subsequent_indent=" " * 13)
    if end.change:
        yield f"             {again(command, end.change)}"


def _numbers(evidence: Evidence, width: int) -> Iterator[str]:
    """What the data can tell, a finding each; the rest by name, since the report says how far it is open."""
    listed = findings(evidence.scorecard)
    known: list[Finding] = []
    open_ones: list[Finding] = []
    for one in listed:
        (open_ones if one.word == "not enough data" else known).append(one)
    if known:
        yield from ("", "In numbers (was: the base; now: the tuned model):")
    indent = " " * 15
    for one in known:
        first = f"  {MARKS[one.word]} {WORDS[one.word]:<10} "
        hint = f" ({one.hint})" if one.hint else ""
        yield from textwrap.wrap(one.name, width, initial_indent=first, subsequent_indent=indent)
        yield from textwrap.wrap(
            f"{one.numbers}{hint}; {one.certainty}", width, initial_indent=indent, subsequent_indent=indent
        )
    if open_ones:
        names = "; ".join(dict.fromkeys(one.name.partition(":")[0].lower() for one in open_ones))
        line = f"{names} (the report says what is possible)"
        yield from textwrap.wrap(
            line, width, initial_indent="  ? too few questions to tell: ", subsequent_indent="    "
        )
