"""Two scorecards side by side, as data, markdown and a page; only runs scored on the same held-out rows compare."""

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from pydantic import Field, ValidationError

from understudy.errors import AssetError
from understudy.records import Interval, Record, Scorecard, Word
from understudy.report import difference, label, number, tables

CANDIDATE = "adapter"


class Line(Record):
    """One number of both runs; None where a run has none."""

    name: str
    first: Interval | None
    second: Interval | None
    first_word: Word | None
    second_word: Word | None


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


def markdown(found: RunComparison) -> str:
    """Both tables as GitHub-flavoured markdown."""
    lines = [f"## {found.first} beside {found.second}", "", f"Held-out rows `{found.test_sha256[:12]}`.", ""]
    lines += [f"> {note}" for note in found.notes] + [""] * bool(found.notes)
    lines += [f"| tuned minus base | {found.first} | {found.second} |", "|---|---|---|"]
    lines += [
        f"| {label(row.name).text} | {_told(row.name, row.first, row.first_word)} | "
        f"{_told(row.name, row.second, row.second_word)} |"
        for row in found.lines
    ]
    lines += ["", f"| tuned | {found.first} | {found.second} |", "|---|---|---|"]
    lines += [
        f"| {label(row.name).text} | {_plain(row.name, row.first)} | {_plain(row.name, row.second)} |"
        for row in found.tuned
    ]
    return "\n".join(lines) + "\n"


def html(found: RunComparison) -> str:
    """Both tables as a page of its own."""
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in found.notes)
    ends = (escape(found.first), escape(found.second))
    changes = tables.table(
        ("", *ends),
        [(escape(label(row.name).text), *(_cell(row.name, *told) for told in _of_both(row))) for row in found.lines],
        "Tuned minus base",
    )
    tuned = tables.table(
        ("", *ends),
        [
            (escape(label(row.name).text), *(_plain(row.name, interval) for interval in (row.first, row.second)))
            for row in found.tuned
        ],
        "The tuned models themselves",
    )
    title, rows = f"{ends[0]} beside {ends[1]}", f"<code>{escape(found.test_sha256[:12])}</code>"
    package = files("understudy.report")
    return Template(package.joinpath("page.html").read_text("utf-8")).substitute(
        title=title,
        style=package.joinpath("page.css").read_text("utf-8"),
        body=f'<h1>{title}</h1><p class="lead">Held-out rows {rows}.</p>{notes}{changes}{tuned}',
    )


def read_scorecard(file: Path) -> Scorecard:
    """The scorecard in `file`, of this format or an older one. Raises AssetError with the reason in one sentence."""
    try:
        return Scorecard.model_validate_json(file.read_bytes())
    except OSError as error:
        raise AssetError(f"{file} cannot be read ({error.strerror}): name a run's scorecard.json") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise AssetError(f"{file} is no scorecard this program can read ({where or 'the whole'}: {said})") from None


def _told(name: str, interval: Interval | None, word: Word | None) -> str:
    if interval is None:
        return ""
    return difference(name, interval) + (f", **{word}**" if word else "")


def _plain(name: str, interval: Interval | None) -> str:
    return (
        f"{number(name, interval.value)} ({number(name, interval.low)} to {number(name, interval.high)})"
        if interval
        else ""
    )


def _of_both(row: Line) -> tuple[tuple[Interval | None, Word | None], ...]:
    return (row.first, row.first_word), (row.second, row.second_word)


def _cell(name: str, interval: Interval | None, word: Word | None) -> str:
    if interval is None:
        return ""
    return (tables.badge(word) if word else "") + f"<small>{difference(name, interval)}</small>"
