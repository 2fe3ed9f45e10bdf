"""Captions in XML (YouTube's formats 1 to 3, TTML) and JSON (YouTube's json3, Whisper's)."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from understudy.errors import Refused
from understudy.readers.archive import local
from understudy.readers.cues import Cue, Shown, voice

ODD_AT_MOST = 0.02
ODD = "a time that makes no sense; its words are kept"

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)(?::(\d+))?")
_COUNT = re.compile(r"(-?\d+(?:\.\d+)?)(h|m|s|ms|f|t)?")
_FACTORS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "f": 1 / 30}


def xml(text: str, _: str) -> Shown:
    """Cues of <text start dur> in seconds, <text t d> and <p t d> in milliseconds, and <p begin end> of TTML."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Refused("an XML file that declares its own entities is not read")
    try:
        root = ElementTree.fromstring(text.lstrip().encode())
    except (ElementTree.ParseError, ValueError) as error:
        raise Refused(f"not well-formed XML: {error}") from None
    ticks = next((value for name, value in root.attrib.items() if local(name) == "tickRate"), "")
    rate = float(ticks) if re.fullmatch(r"[1-9]\d*", ticks) else 1.0
    nodes = [node for node in root.iter() if local(node.tag) in ("text", "p")]
    return _checked([(*_times(node, rate), _lines(node)) for node in nodes])


def _times(node: Element, rate: float) -> tuple[float | None, float | None]:
    """Start and end in seconds; None for what makes no sense."""
    fields = {local(name): value for name, value in node.attrib.items()}
    if "begin" in fields:
        start = _ttml(fields["begin"], rate)
        end = _ttml(fields["end"], rate) if "end" in fields else None
        return start, end if end is not None else _sum(start, _ttml(fields.get("dur", "0s"), rate))
    if "t" in fields:
        start = _number(fields["t"], 1000)
        return start, _sum(start, _number(fields.get("d", "0"), 1000))
    start = _number(fields.get("start", "0"), 1)
    return start, _sum(start, _number(fields.get("dur", "0"), 1))


def _sum(start: float | None, length: float | None) -> float | None:
    return None if start is None or length is None else start + length


def _number(value: Any, per_second: float) -> float | None:
    """A time in seconds, never before the begin; None for what is no number."""
    try:
        seconds = float(value if value is not None else 0) / per_second
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _ttml(value: str, rate: float) -> float | None:
    if clock := _CLOCK.fullmatch(value.strip()):
        hours, minutes, seconds, frames = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds) + int(frames or 0) / 30
    count = _COUNT.fullmatch(value.strip())
    if count is None:
        return None
    return max(0.0, float(count.group(1)) * (1 / rate if count.group(2) == "t" else _FACTORS[count.group(2) or "s"]))


def _lines(node: Element) -> tuple[str, ...]:
    return tuple("".join(_pieces(node)).split("\n"))


def _pieces(node: Element) -> Iterator[str]:
    """The text of a node, <br/> as a new line; a nested caption is a caption of its own."""
    yield node.text or ""
    for child in node:
        tag = local(child.tag)
        if tag == "br":
            yield "\n"
        elif tag not in ("p", "text", "metadata"):
            yield from _pieces(child)
        yield child.tail or ""


def json3(text: str, _: str) -> Shown:
    """Cues of YouTube's json3, or of Whisper's JSON. Neither repeats: a line is in one event only."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise Refused(f"not captions in json3: {error}") from None
    if isinstance(content, list) and content and isinstance(content[0], dict) and "text" in content[0]:
        content = {"segments": content}
    if not isinstance(content, dict) or not isinstance(content.get("events", content.get("segments")), list):
        raise Refused("not captions in json3: it has no list of events or segments")
    return _events(content["events"]) if "events" in content else _segments(content["segments"])


def _events(events: list[Any]) -> Shown:
    rows = []
    for event in events:
        segments = event.get("segs") if isinstance(event, dict) else None
        if not isinstance(segments, list):
            continue  # a place on the screen
        words = "".join(str(s.get("utf8") or "") for s in segments if isinstance(s, dict))
        start = _number(event.get("tStartMs"), 1000)
        rows.append((start, _sum(start, _number(event.get("dDurationMs"), 1000)), tuple(words.split("\n"))))
    return _checked(rows, "tStartMs or dDurationMs")


def _segments(segments: list[Any]) -> Shown:
    """Whisper's segments, with the speakers that whisperX adds, or those of a podcast's transcript."""
    rows = []
    for segment in segments:
        said = str(segment.get("text") or segment.get("body") or "") if isinstance(segment, dict) else ""
        if said.strip():
            name = str(segment.get("speaker") or "")
            start, end = (segment.get(f"{which}", segment.get(f"{which}Time")) for which in ("start", "end"))
            rows.append((_number(start, 1), _number(end, 1), ((voice(name) if name else "") + said,)))
    return _checked(rows, "start or end")


def _checked(rows: Sequence[tuple[float | None, float | None, tuple[str, ...]]], what: str = "start or end") -> Shown:
    """The cues; one odd time among many takes that of the cue before. Raises Refused for many."""
    odd = [at for at, (start, end, _) in enumerate(rows) if start is None or end is None]
    if len(odd) > ODD_AT_MOST * len(rows):
        raise Refused(f"{len(odd)} of {len(rows)} captions have a time that makes no sense ({what})")
    shown, before = Shown(), 0.0
    shown.left_out[ODD] += len(odd)
    for start, end, lines in rows:
        begins = before if start is None else start
        before = max(begins, end or begins)
        shown.cues.append(Cue(begins, before, lines))
    return shown
