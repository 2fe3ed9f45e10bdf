"""
The captions of a file as they are shown: WebVTT, SubRip, SubViewer, ASS, tables of times; XML and JSON next door.

People's files are untidy: empty lines inside a cue, cues without numbers, times of one digit or without fractions. A
line that belongs to no cue is counted by its reason, so that nothing is lost in silence.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

VOICE, VOICE_END, VOICE_SPACE = "\ue000", "\ue001", "\ue002"
"""A speaker inside the text of a cue: VOICE, the name with VOICE_SPACE for its spaces, VOICE_END. No name: another."""

_CLOCK = r"(-?)\s*(?:(\d+)\s*:\s*)?(\d{1,3})\s*:\s*(\d{1,2})(?:\s*[.,:]\s*(\d{1,3})\d*)?"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*(?:-{{1,2}}\s?(?:>|&gt;)|[→⇒])\s*(?:{_CLOCK})?", re.IGNORECASE)
_ARROW = re.compile(r"[^\w]*\d[^A-Za-z]{3,20}--\s?(?:>|&gt;)")
_BLOCK = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:\s|$)|X-TIMESTAMP-MAP", re.IGNORECASE)
_SBV = re.compile(rf"\s*{_CLOCK}\s*,\s*{_CLOCK}\s*$")
_VOICE = re.compile(r"<v(?:\.[\w.-]+)?[ \t]+([^<>]{1,60})>", re.IGNORECASE)
_ASS_CODE = re.compile(r"\{[^{}]*\}")


class Cue(NamedTuple):
    """One caption on the screen: when, and its lines as shown."""

    start: float
    end: float
    lines: tuple[str, ...]


@dataclass
class Shown:
    """The cues of a file in the order of time, and why how many of its lines are in none."""

    cues: list[Cue] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def voice(name: str = "") -> str:
    """The mark of a speaker, to stand before the words of that speaker."""
    return f" {VOICE}{VOICE_SPACE.join(name.split())}{VOICE_END} "


def blocks(text: str, suffix: str) -> Shown:
    """Cues of WebVTT and SubRip: all between two lines of times, save the number of the next cue and notes."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    shown, times = Shown(), _time_lines(lines)
    numbered = _numbered(lines, [at for at, _ in times])
    for (at, time), (following, _) in pairwise([*times, (len(lines), None)]):
        body = lines[at + 1 : following]
        if following < len(lines) and (last := _identifier(body, numbered, suffix)) is not None:
            del body[last:]
        spoken = tuple(_without_notes(body)) if suffix == ".vtt" else tuple(body)
        start, end = time or ((shown.cues[-1].end,) * 2 if shown.cues else (0.0, 0.0))
        shown.left_out["a time that makes no sense; its words are kept"] += time is None
        shown.cues.append(Cue(start, max(start, end), tuple(_VOICE.sub(_voice, line) for line in spoken)))
    return shown


def _voice(match: re.Match[str]) -> str:
    return voice(match.group(1))


def _time_lines(lines: list[str]) -> list[tuple[int, tuple[float, float] | None]]:
    """Where the lines of times are, and the times; None for one that has an arrow and no sense."""
    result: list[tuple[int, tuple[float, float] | None]] = []
    for at, line in enumerate(lines):
        if ">" not in line and "gt;" not in line and "→" not in line and "⇒" not in line:
            continue
        if match := _TIMES.match(line):
            start = _seconds(*match.groups()[:5])
            result.append((at, (start, _seconds(*match.groups()[5:]) if match.group(8) else start)))
        elif _ARROW.match(line):
            result.append((at, None))
    return result


def _seconds(sign: str | None, hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    """The time of day in seconds; a time before the begin is the begin."""
    if sign:
        return 0.0
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + (float(f"0.{fraction}") if fraction else 0.0)


def _numbered(lines: list[str], times: list[int]) -> bool:
    """Whether most cues have a number of their own."""
    numbers = sum(at > 0 and lines[at - 1].strip().isdigit() for at in times)
    return numbers * 2 > len(times)


def _identifier(body: list[str], numbered: bool, suffix: str) -> int | None:
    """Where in `body` the number or name of the next cue stands, if it has one."""
    last = body[-1].strip() if body else ""
    after_empty = len(body) > 1 and not body[-2].strip()
    if last.isdigit() and (numbered or after_empty):
        return len(body) - 1
    # WebVTT allows any line as a name: 'intro-2', a long digest. Two words are speech.
    is_name = suffix == ".vtt" and after_empty and " " not in last and re.search(r"[\d_-]", last)
    return len(body) - 1 if is_name else None


def _without_notes(body: list[str]) -> Iterator[str]:
    """The lines without blocks that are comments, or the head of another file that was joined to this one."""
    skipping, empty = False, False
    for line in body:
        if not line:
            skipping, empty = False, True
        elif empty and _BLOCK.match(line):
            skipping = True
        if not skipping:
            yield line
        empty = not line


def subviewer(text: str, _: str) -> Shown:
    """Cues of SubViewer (.sbv): a line of two times, then the words."""
    shown = Shown()
    start, end, body = 0.0, 0.0, list[str]()
    for line in [*text.splitlines(), "0:00:00.000,0:00:00.000"]:
        if match := _SBV.match(line):
            if body:
                shown.cues.append(Cue(start, end, tuple(body)))
            start, end, body = _seconds(*match.groups()[:5]), _seconds(*match.groups()[5:]), []
        elif line.strip():
            body.append(line)
    return shown


def substation(text: str, _: str) -> Shown:
    """Cues of SubStation (.ass, .ssa): the Dialogue lines, whose columns a Format line names."""
    shown, columns = Shown(), "Layer Start End Style Name MarginL MarginR MarginV Effect Text".split()
    for line in text.splitlines():
        kind, _, rest = line.partition(":")
        if kind.strip() == "Format" and "Text" in rest:
            columns = [name.strip() for name in rest.split(",")]
        elif kind.strip() == "Dialogue":
            values = dict(zip(columns, (value.strip() for value in rest.split(",", len(columns) - 1)), strict=False))
            start, end = (re.fullmatch(_CLOCK, values.get(name, "")) for name in ("Start", "End"))
            if start is None or end is None:
                shown.left_out["a line without a time"] += 1
                continue
            words = _ASS_CODE.sub("", values.get("Text", "")).replace("\\h", " ")
            name = values.get("Name") or values.get("Actor") or ""
            lines = re.split(r"\\[Nn]", (voice(name) if name else "") + words)
            shown.cues.append(Cue(_seconds(*start.groups()), _seconds(*end.groups()), tuple(lines)))
    return shown


def table(text: str, _: str) -> Shown:
    """Cues of Whisper's table (.tsv): start and end in milliseconds, and the words."""
    shown = Shown()
    for line in text.splitlines():
        start, _, rest = line.partition("\t")
        end, _, words = rest.partition("\t")
        if start.strip().isdigit() and end.strip().isdigit():
            shown.cues.append(Cue(int(start) / 1000, int(end) / 1000, (words,)))
        elif line.strip() and start.strip() != "start":
            shown.left_out["a line without a time"] += 1
    return shown
