"""
Captions as they come (WebVTT, SubRip, YouTube's timed text and json3), and clean paragraphs made of them.

Automatic captions repeat: a cue shows the line before it again ("roll-up"), and a 10 ms cue
holds each full line. Only lines that stood at the end of the cue just before are dropped, so
that a phrase that a speaker repeats is kept twice.
"""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from understudy.errors import Refused
from understudy.records import Paragraph

WORDS_PER_SECOND = 2.6
PARAGRAPH_WORDS, PARAGRAPH_WORDS_AT_MOST = 110, 200
ROLL_UP_SILENCE = 60.0  # the last line stays on the screen during a pause of the speaker
PAUSE_SECONDS, PAUSE_AFTER_WORDS = 2.0, 25

_TIMES = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})")
_TAGS = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff]")
_NOISE = re.compile(
    r"[\[(]\s*(?:music|applause|laughter|laughs?|laughing|cheering|silence|inaudible|musik|applaus|gelächter|música|"
    r"aplausos|risas|musique|applaudissements|rires)[^\])]*[\])]|[♪♫]+",
    re.IGNORECASE,
)
_CENSORED = re.compile(r"\[\s*__\s*\]")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*$")
_LAST_OF_SENTENCE = frozenset(".!?\"'”’)")
_ABBREVIATION = re.compile(r"^(?:Dr|Mr|Mrs|Ms|Prof|St|No|vs|e\.g|i\.e|[A-Z])\.$")


class Cue(NamedTuple):
    """One caption on the screen: when, and its lines as shown."""

    start: float
    end: float
    lines: tuple[str, ...]


class SpokenWord(NamedTuple):
    """One word, and what the captions mark just before it."""

    word: str
    start: float
    new_speaker: bool
    pause_seconds: float


class Cleaned(NamedTuple):
    """Paragraphs with their start; noise tags that were dropped; how often another speaker begins."""

    paragraphs: list[Paragraph]
    noise_tags: int
    speaker_changes: int


class Segment(BaseModel):
    """Some words of an event of json3."""

    utf8: str = ""


class Event(BaseModel):
    """One event of json3: a caption when it has segments, else only a position on the screen."""

    tStartMs: FiniteFloat = Field(default=0, ge=0)
    dDurationMs: FiniteFloat = Field(default=0, ge=0)
    segs: list[Segment] = []


class Json3(BaseModel):
    """The part of YouTube's json3 captions that is read."""

    events: list[Event]


def parse(text: str, suffix: str) -> list[Cue]:
    """The cues of a caption file, in order of time. Raises Refused when there are none."""
    parsers = {".xml": _timed_text, ".json3": _events}
    cues = list(parsers.get(suffix, _blocks)(text))
    if not cues:
        raise Refused(f"this {suffix} file has no caption with a time")
    return sorted(cues, key=lambda cue: cue.start)


def note(text: str) -> dict[str, str]:
    """`Title: ...` lines of the NOTE block at the top of a WebVTT file, keys in lower case."""
    block = re.search(r"^NOTE\s*\n((?:.+\n?)+)", text.replace("\r\n", "\n"), re.MULTILINE)
    pairs = (line.partition(":") for line in (block.group(1).splitlines() if block else []))
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon and "-->" not in value}


def clean(cues: list[Cue]) -> Cleaned:
    """The words of the cues, once each, as paragraphs of about 110 words."""
    noise, tidy = 0, []
    for cue in cues:
        lines = []
        for line in cue.lines:
            line, dropped = _NOISE.subn(" ", _plain(line))
            noise += dropped
            lines.append(" ".join(line.split()))
        tidy.append(Cue(cue.start, cue.end, tuple(line for line in lines if line)))
    speech = list(_words(_without_roll_up(tidy)))
    return Cleaned(list(_paragraphs(speech)), noise, sum(word.new_speaker for word in speech))


def _blocks(text: str) -> Iterator[Cue]:
    """Cues of WebVTT and SubRip. A body ends at an empty line; a line with one space is part of the cue."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for at, line in enumerate(lines):
        times = _TIMES.match(line.strip())
        if times:
            body = []
            for following in lines[at + 1 :]:
                if following == "" or _TIMES.match(following.strip()):
                    break
                body.append(following)
            hours, minutes, seconds, millis = (int(part or 0) for part in times.groups()[:4])
            end = [int(part or 0) for part in times.groups()[4:]]
            yield Cue(_seconds(hours, minutes, seconds, millis), _seconds(*end), tuple(body))


def _seconds(hours: int, minutes: int, seconds: int, millis: int) -> float:
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def _timed_text(text: str) -> Iterator[Cue]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Refused("an XML file that declares its own entities is not read")
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        raise Refused(f"not well-formed XML: {error}") from None
    for node in root.iter("text"):
        start = float(node.get("start", "0"))
        yield Cue(start, start + float(node.get("dur", "0")), tuple("".join(node.itertext()).split("\n")))


def _events(text: str) -> Iterator[Cue]:
    """Cues of json3. It has no roll-up: a line is in one event only."""
    try:
        events = Json3.model_validate_json(text).events
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise Refused(f"not captions in json3: {where}: {first['msg']}") from None
    for event in events:
        if event.segs:
            start = event.tStartMs / 1000
            lines = "".join(segment.utf8 for segment in event.segs).split("\n")
            yield Cue(start, start + event.dDurationMs / 1000, tuple(lines))


def _plain(line: str) -> str:
    """One line without entities (YouTube escapes them twice), tags and invisible characters."""
    line = _TAGS.sub("", html.unescape(html.unescape(line)))
    return _CENSORED.sub("[censored]", _INVISIBLE.sub("", line.replace("\xa0", " ")))


def _without_roll_up(cues: list[Cue]) -> list[Cue]:
    cues = [cue for cue in cues if cue.lines]
    shared = [_shared_lines(before, cue) for before, cue in zip([Cue(0, 0, ()), *cues], cues, strict=False)]
    if sum(map(bool, shared)) * 3 >= len(cues):  # few cues repeat by chance; in roll-up nearly all do
        shared = [_shared_lines(b, c, ROLL_UP_SILENCE) for b, c in zip([Cue(0, 0, ()), *cues], cues, strict=False)]
        return [Cue(cue.start, cue.end, cue.lines[k:]) for cue, k in zip(cues, shared, strict=True)]
    flat = [Cue(cue.start, cue.end, tuple(" ".join(cue.lines).split())) for cue in cues]
    overlap = [_shared_words(before, cue) for before, cue in zip([Cue(0, 0, ()), *flat], flat, strict=False)]
    if sum(map(bool, overlap)) * 3 >= len(cues):
        return [Cue(cue.start, cue.end, (" ".join(cue.lines[k:]),)) for cue, k in zip(flat, overlap, strict=True)]
    return cues


def _shared_lines(before: Cue, cue: Cue, within_seconds: float = 0.5) -> int:
    """How many leading lines of `cue` repeat the end of the cue just before it."""
    if cue.start - before.end >= within_seconds:
        return 0
    longest = min(len(before.lines), len(cue.lines))
    return next((k for k in range(longest, 0, -1) if before.lines[-k:] == cue.lines[:k]), 0)


def _shared_words(before: Cue, cue: Cue) -> int:
    """As `_shared_lines`, for cues flattened to words; fewer than three words are chance."""
    shared = _shared_lines(before, cue)
    return shared if shared >= 3 else 0


def _words(cues: list[Cue]) -> Iterator[SpokenWord]:
    silent_since = None
    for cue in cues:
        words = " ".join(cue.lines).split()
        pause = max(0.0, cue.start - silent_since) if silent_since is not None else 0.0
        new_speaker = False
        for at, word in enumerate(words):
            if word[0] == ">" and word.startswith(">>"):
                new_speaker, word = True, word.lstrip(">")
                if not word:
                    continue
            yield SpokenWord(word, round(cue.start + at / WORDS_PER_SECOND, 2), new_speaker, pause)
            pause, new_speaker = 0.0, False
        silent_since = cue.start + len(words) / WORDS_PER_SECOND if words else silent_since


def _paragraphs(speech: list[SpokenWord]) -> Iterator[Paragraph]:
    ends = sum(map(_ends_sentence, (s.word for s in speech)))
    punctuated = ends * 60 > len(speech)
    gathered: list[SpokenWord] = []
    for s in speech:
        full = len(gathered) >= PARAGRAPH_WORDS and (not punctuated or _ends_sentence(gathered[-1].word))
        silence = s.pause_seconds >= PAUSE_SECONDS and len(gathered) >= PAUSE_AFTER_WORDS
        if gathered and (s.new_speaker or full or silence or len(gathered) >= PARAGRAPH_WORDS_AT_MOST):
            yield _paragraph(gathered)
            gathered = []
        gathered.append(s)
    if gathered:
        yield _paragraph(gathered)


def _paragraph(speech: list[SpokenWord]) -> Paragraph:
    pause = round(speech[0].pause_seconds, 1) or None
    return Paragraph(start_seconds=speech[0].start, pause_seconds=pause, text=" ".join(s.word for s in speech))


def _ends_sentence(word: str) -> bool:
    if word[-1] not in _LAST_OF_SENTENCE:  # true of nearly every word: skip the search
        return False
    return bool(_SENTENCE_END.search(word)) and not _ABBREVIATION.match(word)
