"""
Clean paragraphs made of captions as they come: each word once, with its time, and what is no speech left out.

Every line that is left out is counted by its reason, and a talk that loses words says so.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from understudy.errors import Refused
from understudy.readers import cues as plain_formats
from understudy.readers import timed_text
from understudy.readers.cues import VOICE, VOICE_END, VOICE_SPACE, Cue, Shown
from understudy.readers.noise import without_noise
from understudy.readers.rolling import once
from understudy.readers.spacing import CHUNK_WORDS, glued, ground
from understudy.readers.speakers import with_voices
from understudy.records import Paragraph
from understudy.text.words import ends_sentence, unspaced, word_count

WORDS_PER_SECOND = 2.6
PARAGRAPH_WORDS, PARAGRAPH_WORDS_AT_MOST = 110, 200
PAUSE_SECONDS, PAUSE_AFTER_WORDS = 2.0, 25

FORMATS: dict[str, Callable[[str, str], Shown]] = {
    ".vtt": plain_formats.blocks,
    ".srt": plain_formats.blocks,
    ".sbv": plain_formats.subviewer,
    ".ass": plain_formats.substation,
    ".ssa": plain_formats.substation,
    ".tsv": plain_formats.table,
    ".json": timed_text.json3,
    ".json3": timed_text.json3,
    ".xml": timed_text.xml,
    ".srv1": timed_text.xml,
    ".srv2": timed_text.xml,
    ".srv3": timed_text.xml,
    ".ttml": timed_text.xml,
    ".dfxp": timed_text.xml,
}

# Only these are tags: 'Box<String>' and 'a < b' are words of a talk.
_READING = re.compile(r"<rt>.*?</rt>|<rp>.*?</rp>", re.IGNORECASE)
_TAGS = re.compile(
    r"</?(?:i|b|u|s|em|strong|ruby|rt|rp|c|v|lang|font|span|div|p)(?:\.[\w.-]+)?\s*/?>"
    r"|<(?:font|span|c|v|lang|div|p)[.\s][^<>]*>|<\d+:[\d:.]+>|\{\\[^}]*\}",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_FORGED = re.compile(f"[{VOICE}{VOICE_END}{VOICE_SPACE}]")
_CENSORED = re.compile(r"\[\s*__\s*\]")
_LAST_OF_SENTENCE = frozenset(".!?\"'”’)")
_ABBREVIATION = re.compile(r"^(?:Dr|Mr|Mrs|Ms|Prof|St|No|vs|e\.g|i\.e|[A-Z])\.$")
_MARKUP = re.compile(r"[<&{\xa0\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|\[\s*_")


class SpokenWord(NamedTuple):
    """One word, or a sentence of a script without spaces, and what the captions mark just before it."""

    word: str
    size: int
    start: float
    pause_seconds: float
    begins_turn: bool
    speaker: str | None
    is_glued: bool


class Cleaned(NamedTuple):
    """Paragraphs with their start; noise tags that were dropped; how often another speaker begins; the account."""

    paragraphs: list[Paragraph]
    noise_tags: int
    speaker_changes: int
    left_out: dict[str, int]
    """Lines that are not in the paragraphs, by reason."""
    lost_share: float
    """Of the different words of the captions, those that are in no paragraph."""


def parse(text: str, suffix: str) -> list[Cue]:
    """The cues of a caption file, in order of time. Raises Refused when there are none."""
    return shown(text, suffix).cues


def shown(text: str, suffix: str) -> Shown:
    """The cues of a caption file, in order of time, and what was left out. Raises Refused when there are none."""
    result = FORMATS[suffix](_FORGED.sub("", text), suffix)
    if not any(line.strip() for cue in result.cues for line in cue.lines):
        raise Refused(f"this {suffix} file has no caption with a time")
    result.cues.sort(key=lambda cue: cue.start)
    return result


def note(text: str) -> dict[str, str]:
    """`Title: ...` lines of the NOTE block at the top of a WebVTT file, keys in lower case."""
    block = re.search(r"^NOTE\s*\n((?:.+\n?)+)", text.replace("\r\n", "\n"), re.MULTILINE)
    pairs = (line.partition(":") for line in (block.group(1).splitlines() if block else []))
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon and "-->" not in value}


def clean(cues: Sequence[Cue]) -> Cleaned:
    """The words of the cues, once each, as paragraphs of about 110 words."""
    noise, tidy = 0, []
    for cue in cues:
        text, dropped = without_noise("\n".join(map(_plain, cue.lines)))
        noise += dropped
        lines = (" ".join(line.split()) for line in text.split("\n"))
        tidy.append(Cue(cue.start, cue.end, tuple(line for line in lines if line)))
    tidy = with_voices(tidy)
    new = once(tidy)
    speech = list(_words(new))
    left_out = Counter({"sound": noise, "shown again": _lines(tidy) - _lines(new)})
    paragraphs = list(_paragraphs(speech))
    return Cleaned(paragraphs, noise, _changes(speech), dict(+left_out), _lost(tidy, speech))


def _lines(cues: Sequence[Cue]) -> int:
    return sum(len(cue.lines) for cue in cues)


def _lost(tidy: Sequence[Cue], speech: Sequence[SpokenWord]) -> float:
    before = {word for cue in tidy for line in cue.lines for word in line.split() if word[0] not in (VOICE, ">", "-")}
    kept = {s.word for s in speech}
    missing = {word for word in before - kept if not unspaced(word)}
    return len(missing) / len(before) if before else 0.0


def _plain(line: str) -> str:
    """One line without entities (YouTube escapes them twice), tags and invisible characters."""
    if not _MARKUP.search(line):
        return line
    line = _BREAK.sub("\n", _TAGS.sub("", _READING.sub("", line)))
    line = _TAGS.sub("", html.unescape(html.unescape(line)))
    return _CENSORED.sub("[censored]", _INVISIBLE.sub("", line.replace("\xa0", " ")))


def _words(cues: Sequence[Cue]) -> Iterator[SpokenWord]:
    silent_since, before, speaker, begins = None, "", None, False
    for cue in cues:
        pause = max(0.0, cue.start - silent_since) if silent_since is not None else 0.0
        said = 0
        for line in cue.lines:
            is_first = True
            for word in line.split():
                if word[0] == VOICE:
                    name = word[1:-1].replace(VOICE_SPACE, " ") or None
                    begins, speaker = begins or name is None or name != speaker, name
                    continue
                if word[0] == ">" and word.startswith(">>"):
                    begins, speaker, word = True, None, word.lstrip(">")
                    if not word:
                        continue
                for piece in ground(word):
                    size = word_count(piece) or 1 if unspaced(piece) else 1
                    start = round(cue.start + said / WORDS_PER_SECOND, 2)
                    is_glued = (is_first or piece is not word) and glued(before, piece)
                    yield SpokenWord(piece, size, start, pause, begins, speaker, is_glued)
                    said, pause, begins, before, is_first = said + size, 0.0, False, piece, False
        silent_since = cue.start + said / WORDS_PER_SECOND if said else silent_since


def _changes(speech: Sequence[SpokenWord]) -> int:
    """How often another speaker begins; the first name of all is no change."""
    changes = sum(s.begins_turn for s in speech)
    return changes - (bool(speech) and speech[0].begins_turn and speech[0].speaker is not None)


def _paragraphs(speech: Sequence[SpokenWord]) -> Iterator[Paragraph]:
    total, ends = sum(s.size for s in speech), sum(_ends_sentence(s.word) for s in speech)
    punctuated = ends * 60 > total
    gathered: list[SpokenWord] = []
    size = 0
    for s in speech:
        full = size >= PARAGRAPH_WORDS and (not punctuated or _ends_sentence(gathered[-1].word))
        silence = s.pause_seconds >= PAUSE_SECONDS and size >= PAUSE_AFTER_WORDS
        if gathered and (s.begins_turn or full or silence or size + s.size > PARAGRAPH_WORDS_AT_MOST):
            yield _paragraph(gathered)
            gathered, size = [], 0
        gathered.append(s)
        size += s.size
    if gathered:
        yield _paragraph(gathered)


def _paragraph(speech: Sequence[SpokenWord]) -> Paragraph:
    first = speech[0]
    text = first.word + "".join(s.word if s.is_glued else f" {s.word}" for s in speech[1:])
    pause = round(first.pause_seconds, 1) or None
    return Paragraph(start_seconds=first.start, pause_seconds=pause, text=text, speaker=first.speaker)


def _ends_sentence(word: str) -> bool:
    if word.isascii() and word[-1] not in _LAST_OF_SENTENCE:  # true of nearly every word: skip the search
        return False
    return ends_sentence(word) and not _ABBREVIATION.match(word)


assert CHUNK_WORDS < PARAGRAPH_WORDS_AT_MOST, "a piece of a script without spaces fits a paragraph"
