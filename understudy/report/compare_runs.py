"""Two scorecards side by side, as data, markdown and a page; only runs scored on the same held-out rows compare."""

from pydantic import Field

from understudy.errors import AssetError
from understudy.records import Interval, Record, Scorecard, Word
from understudy.report import difference, label, with_interval
from understudy.report.rendering import render
from understudy.report.tables import Cell, Table, badge
from understudy.text.table import plain, table

CANDIDATE = "adapter"


class Line(Record):
    """One number of both runs; None where a run has none."""

    name: str
    first: Interval | None
    second: Interval | None
    first_word: Word | None
    second_word: Word | None

    @property
    def label(self) -> str:
        """How the number is called on pages."""
        return label(self.name).text

    @property
    def runs(self) -> tuple[tuple[Interval | None, Word | None], ...]:
        """Interval and verdict of each run."""
        return (self.first, self.first_word), (self.second, self.second_word)


class RunComparison(Record):
    """Two runs on the same held-out rows."""

    first: str
    second: str
    test_sha256: str
    lines: list[Line] = Field(description="tuned minus base of each run, every name that either has")
    tuned: list[Line] = Field(description="the tuned models' own numbers")
    notes: list[str] = Field(description="what to know before comparing")


def compare_runs(a: Scorecard, b: Scorecard) -> RunComparison:
    """The numbers of both, name by name. Raises AssetError when they were scored on other rows.

    No interval of the difference between the runs is given: two scorecards do not hold the answers it needs.
    """
    if a == b:
        raise AssetError(
            f"both are the scorecard of {a.channel}/{a.run}: name two runs, `understudy status` lists them"
        )
    if a.test_sha256 != b.test_sha256:
        raise AssetError(
            f"{a.channel}/{a.run} was scored on the held-out rows {a.test_sha256[:12]} and {b.channel}/{b.run} on "
            f"{b.test_sha256[:12]}: only runs on the same rows compare; score one of them again on the other's dataset"
        )
    scored = [next((c.metrics for c in card.candidates if c.name == CANDIDATE), {}) for card in (a, b)]
    notes = [f"{card.run}: the held-out talks were also trained on" for card in (a, b) if not card.honest]
    if a.version != b.version:
        notes.append(
            f"{a.run} has scorecard format {a.version}, {b.run} {b.version}: what only one measures has no pair"
        )
    return RunComparison(
        first=a.run,
        second=b.run,
        test_sha256=a.test_sha256,
        lines=[
            Line(
                name=name,
                first=a.differences.get(name),
                second=b.differences.get(name),
                first_word=a.verdicts.get(name),
                second_word=b.verdicts.get(name),
            )
            for name in dict.fromkeys([*a.differences, *b.differences])
        ],
        tuned=[
            Line(name=name, first=scored[0].get(name), second=scored[1].get(name), first_word=None, second_word=None)
            for name in dict.fromkeys([*scored[0], *scored[1]])
        ],
        notes=notes,
    )


def markdown(runs: RunComparison) -> str:
    """Both tables as GitHub-flavoured markdown, of what has a verdict in either run; the page has every number."""
    ends = plain(runs.first), plain(runs.second)
    judged = [line for line in runs.lines if line.first_word or line.second_word]
    names = {line.name for line in judged}
    changes = [(plain(line.label), *(_with_word(line.name, *of) for of in line.runs)) for line in judged]
    tuned = [
        (plain(line.label), *(with_interval(line.name, i) for i, _ in line.runs))
        for line in runs.tuned
        if line.name in names
    ]
    left = len(runs.lines) + len(runs.tuned) - len(changes) - len(tuned)
    parts = [
        f"## {ends[0]} beside {ends[1]}",
        f"Held-out rows `{runs.test_sha256[:12]}`.",
        "\n".join(f"> {note}" for note in runs.notes),
        table(("tuned minus base", *ends), changes),
        table(("tuned", *ends), tuned),
        f"{left} more numbers are on the page: --html FILE" if left else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(runs: RunComparison) -> str:
    """Both tables as a page of its own."""
    changes = [(line.label, *(_cell(line.name, *of) for of in line.runs)) for line in runs.lines]
    tuned = [(line.label, *(with_interval(line.name, i) for i, _ in line.runs)) for line in runs.tuned]
    head = ("", runs.first, runs.second)
    return render(
        "compare_runs.html",
        runs=runs,
        changes=Table(head, changes, "Tuned minus base"),
        tuned=Table(head, tuned, "The tuned models themselves"),
    )


def _with_word(name: str, interval: Interval | None, word: Word | None) -> str:
    return "" if interval is None else difference(name, interval) + (f", **{word}**" if word else "")


def _cell(name: str, interval: Interval | None, word: Word | None) -> str | Cell:
    if interval is None:
        return ""
    return badge(word, small=difference(name, interval)) if word else Cell("", small=difference(name, interval))
