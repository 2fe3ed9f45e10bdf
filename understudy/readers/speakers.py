"""Who speaks: labels, dashes and times that stand in the words of captions and of transcripts become data."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from understudy.errors import Refused
from understudy.readers.cues import Cue, voice
from understudy.records import Document, Paragraph
from understudy.text.words import word_count

MAIN_SHARE = 0.6
LABELS_AT_LEAST, LABELLED_SHARE = 3, 0.25
STAMPS_AT_LEAST, STAMPED_SHARE, LABELLED_LINES = 3, 0.2, 0.5
MAIN = "main"
SECONDS_A_LINE = 10.0  # of a transcript without times, so that each line has a place

_TIME = r"(?:\d{1,2}:)?\d{1,3}:\d{2}(?:[.,]\d{1,3})?"
_NAME = r"(?:[^\W\d_a-zà-ÿ][\w.'’-]*)(?: [\w.'’()&-]+){0,4}"
_LABEL = re.compile(rf"(?P<mark>>>\s*|[-–—]\s*)?[\[(]?(?P<name>{_NAME})[\])]?\s*[:：]\s+(?=\S)")
_DASH = re.compile(r"[-–—‒]\s*(?=[^\W\d]|[\"'“‘¿¡])")
_TIME_ONLY = re.compile(rf"[\[(]?({_TIME})[\])]?")
_TIME_FIRST = re.compile(rf"[\[(]?({_TIME})(?:\s*(?:-->|-|–|—|to)\s*{_TIME})?[\])]?\s*[-–—:|]?\s+(\S.*)")
_NAME_TIME = re.compile(rf"({_NAME})\s*[,:|·-]?\s+[\[(]?({_TIME})[\])]?\s*:?")


def with_voices(cues: Sequence[Cue]) -> list[Cue]:
    """The cues with marks of their speakers in the place of labels and dashes."""
    lines = [line for cue in cues for line in cue.lines]
    names = _labels(lines)
    dashes = sum(bool(_DASH.match(line)) for line in lines)
    is_dialogue = dashes >= LABELS_AT_LEAST and dashes * 10 >= len(lines)
    if not names and not is_dialogue:
        return list(cues)
    return [cue._replace(lines=tuple(_marked(line, names, is_dialogue) for line in cue.lines)) for cue in cues]


def _labels(lines: Sequence[str]) -> frozenset[str]:
    """The names that stand before what is said often enough to be speakers."""
    counts: Counter[str] = Counter()
    certain = set()
    for line in lines:
        if match := _LABEL.match(line):
            counts[match["name"]] += 1
            if (match["mark"] or "").startswith(">>"):
                certain.add(match["name"])
    often = {name for name, count in counts.items() if count >= LABELS_AT_LEAST}
    if sum(counts[name] for name in often) < LABELLED_SHARE * len(lines):
        often = set()
    return frozenset(often | certain)


def _marked(line: str, names: frozenset[str], is_dialogue: bool) -> str:
    label = _LABEL.match(line)
    if label and label["name"] in names:
        return (voice(label["name"]) + line[label.end() :]).strip()
    dash = _DASH.match(line) if is_dialogue else None
    return (voice() + line[dash.end() :]).strip() if dash else line


def transcript(lines: Sequence[str]) -> tuple[str | None, list[Cue], bool] | None:
    """Title, cues, and whether they have times, of a text that is a transcript; None for any other text."""
    lines = [line.strip() for line in lines if line.strip()]
    stamps = [stamp for line in lines if (stamp := _stamp(line))]
    times = [start for start, _, _ in stamps]
    falls = sum(later < earlier for earlier, later in pairwise(times))
    if len(stamps) >= max(STAMPS_AT_LEAST, STAMPED_SHARE * len(lines)) and falls * 10 <= len(stamps):
        return _timed(lines)
    names = _labels(lines)
    named = sum(bool((match := _LABEL.match(line)) and match["name"] in names) for line in lines)
    if named >= 2 * LABELS_AT_LEAST and named >= LABELLED_LINES * len(lines):
        starts = (at * SECONDS_A_LINE for at in range(len(lines)))
        return None, [Cue(s, s + SECONDS_A_LINE, (line,)) for s, line in zip(starts, lines, strict=False)], False
    return None


def _stamp(line: str) -> tuple[float, str, str] | None:
    """Seconds, name and words of a line that says when."""
    if match := _TIME_ONLY.fullmatch(line):
        return _seconds(match[1]), "", ""
    if match := _NAME_TIME.fullmatch(line):
        return _seconds(match[2]), match[1], ""
    if match := _TIME_FIRST.fullmatch(line):
        return _seconds(match[1]), "", match[2]
    return None


def _seconds(time: str) -> float:
    seconds = 0.0
    for part in time.replace(",", ".").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def _timed(lines: Sequence[str]) -> tuple[str | None, list[Cue], bool]:
    title: str | None = None
    starts: list[float] = []
    bodies: list[list[str]] = []
    names = _names_above_times(lines)
    for at, line in enumerate(lines):
        stamp = _stamp(line)
        if stamp:
            start, name, words = stamp
            above = lines[at - 1] if at and not words and not name and lines[at - 1] in names else ""
            starts.append(max(start, starts[-1] if starts else 0.0))
            bodies.append([(voice(name or above) if name or above else "") + words])
        elif not bodies and title is None and line not in names:
            title = line.lstrip("# ")
        elif line not in names or not (at + 1 < len(lines) and _TIME_ONLY.fullmatch(lines[at + 1])):
            if not bodies:
                starts.append(0.0)
                bodies.append([])
            bodies[-1].append(line)
    ends = [*starts[1:], (starts[-1] if starts else 0.0) + SECONDS_A_LINE]
    return title, [Cue(s, e, tuple(b)) for s, e, b in zip(starts, ends, bodies, strict=True)], True


def _names_above_times(lines: Sequence[str]) -> frozenset[str]:
    """Names on a line of their own above a time, as meeting programs write them."""
    above = Counter(
        line for line, following in pairwise(lines) if re.fullmatch(_NAME, line) and _TIME_ONLY.fullmatch(following)
    )
    return frozenset(name for name, count in above.items() if count >= LABELS_AT_LEAST)


def of_one(document: Document, wanted: str | None) -> Document:
    """The talk as that of one speaker, the others' words as context. Raises Refused where that speaker is not clear."""
    shares = _shares(document.paragraphs)
    if wanted is None or not shares:
        return document
    there = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if wanted == MAIN:
        name, share = next(iter(shares.items()))
        if share < MAIN_SHARE:
            raise Refused(f"no speaker has {MAIN_SHARE:.0%} of the words ({there}); name one: source.speaker")
    else:
        names = [name for name in shares if wanted.casefold() in name.casefold()]
        name = next((one for one in names if one.casefold() == wanted.casefold()), names[0] if len(names) == 1 else "")
        if not name:
            raise Refused(f"source.speaker {wanted!r} does not speak in it; there are: {there}")
    return document.model_copy(update={"speaker": name})


def _shares(paragraphs: Sequence[Paragraph]) -> dict[str, float]:
    """The share of the words that each named speaker has, the largest first."""
    words: Counter[str] = Counter()
    for paragraph in paragraphs:
        if paragraph.speaker:
            words[paragraph.speaker] += word_count(paragraph.text)
    total = sum(word_count(paragraph.text) for paragraph in paragraphs)
    return {name: count / total for name, count in words.most_common()}
