"""
Captions that show a line again: each line once, and what a speaker says twice twice.

Automatic captions roll up: a cue shows the line before it again, and a 10 ms cue holds each full line. Live captions
are painted on: each cue shows the line so far. Neither is decided for a whole file, since a part of it may come from
elsewhere; a single repetition among cues that do not repeat is speech.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import pairwise

from understudy.readers.cues import Cue

ROLL_UP_SILENCE = 60.0  # the last line stays on the screen during a pause of the speaker
ADJACENT_SECONDS = 0.5
CARRY_SECONDS = 0.05  # a cue so short is never read: it only carries a line to the next one
NEIGHBOURS, EVIDENCE = 6, 3
OVERLAP_WORDS = 3

_NOTHING = Cue(0, 0, ())


def once(cues: list[Cue]) -> list[Cue]:
    """The cues, in order of time, each with the lines that are new in it."""
    return _flattened(_rolled(_painted(list(dict.fromkeys(cue for cue in cues if cue.lines)))))


def _painted(cues: list[Cue]) -> list[Cue]:
    """Without the unfinished forms of a line that grows word by word, or letter by letter."""
    grows = [_grows(cue, after) for cue, after in pairwise(cues)] + [False]
    kept, start = list[Cue](), None
    for at, cue in enumerate(cues):
        chain = grows[at] and sum(grows[max(0, at - 2) : at + 3]) >= EVIDENCE
        start = start if start is not None else cue.start
        if not chain:
            kept.append(cue._replace(start=start))
            start = None
    return kept


def _grows(cue: Cue, after: Cue) -> bool:
    """Whether the next cue shows this one and more."""
    if after.start - cue.end >= ADJACENT_SECONDS or _carries(cue):
        return False
    text, longer = " ".join(cue.lines), " ".join(after.lines)
    if longer.startswith(text) and longer != text:
        return True
    words, more = text.split(), longer.split()
    # The last word of a live caption is often another one a moment later.
    if not 2 < len(words) <= len(more) or words[:-1] != more[: len(words) - 1]:
        return False
    last, better = words[-1], more[len(words) - 1]
    return len(words) < len(more) or (last[:2] == better[:2] and (last + better).isalpha() and last != better)


def _rolled(cues: list[Cue]) -> list[Cue]:
    pairs = [(_NOTHING, cue) for cue in cues[:1]] + list(pairwise(cues))
    near = [_shared(b, c, ADJACENT_SECONDS) or _corrects(b, c) for b, c in pairs]
    evidence = [bool(k) and (k < len(cue.lines) or _carries(cue)) for k, cue in zip(near, cues, strict=True)]
    result = list[Cue]()
    for (before, cue), rolls in zip(pairs, _in_a_row(evidence), strict=True):
        k = _shared(before, cue, ROLL_UP_SILENCE) if rolls else 0
        if rolls and not k and _corrects(before, cue):
            k = _correct(result, before.lines[-1], cue.lines[0])
        said_again = k == len(cue.lines) == len(before.lines) and not _carries(cue)
        result.append(cue if said_again else cue._replace(lines=cue.lines[k:]))
    return result


def _carries(cue: Cue) -> bool:
    return cue.end - cue.start <= CARRY_SECONDS


def _correct(result: list[Cue], line: str, corrected: str) -> int:
    """Put the corrected line in the place of the one shown before; how many lines of the new cue that makes old."""
    at = next((at for at in range(len(result) - 1, -1, -1) if result[at].lines), None)
    if at is None or result[at].lines[-1] != line:
        return 0
    result[at] = result[at]._replace(lines=(*result[at].lines[:-1], corrected))
    return 1


def _in_a_row(evidence: list[bool]) -> Iterator[bool]:
    """For each cue, whether enough of its neighbours repeat."""
    if not any(evidence):
        yield from (False for _ in evidence)
        return
    sums = [0]
    for one in evidence:
        sums.append(sums[-1] + one)
    for at in range(len(evidence)):
        yield sums[min(len(evidence), at + NEIGHBOURS)] - sums[max(0, at - NEIGHBOURS)] >= EVIDENCE


def _shared(before: Cue, cue: Cue, within_seconds: float) -> int:
    """How many leading lines of `cue` repeat the end of the cue just before it."""
    if cue.start - before.end >= within_seconds:
        return 0
    first, longest = cue.lines[0], min(len(before.lines), len(cue.lines))
    ends = (k for k in range(longest, 0, -1) if before.lines[-k] == first and before.lines[-k:] == cue.lines[:k])
    return next(ends, 0)


def _corrects(before: Cue, cue: Cue) -> int:
    """1 where the first of several lines is the last one of the cue before with a word of it corrected."""
    if len(cue.lines) < 2 or not before.lines or cue.start - before.end >= ADJACENT_SECONDS:
        return 0
    words, others = before.lines[-1].split(), cue.lines[0].split()
    if len(words) < 4 or abs(len(words) - len(others)) > 1:
        return 0
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return int(sum(block.size for block in blocks) >= max(len(words), len(others)) - 1)


def _flattened(cues: list[Cue]) -> list[Cue]:
    """As `_rolled`, for cues whose lines were joined to one: by words, of which fewer than three are chance."""
    cues = [cue for cue in cues if cue.lines]
    flat = [cue._replace(lines=tuple(" ".join(cue.lines).split())) for cue in cues]
    overlap = [0] * len(flat[:1]) + [_shared(b, c, ADJACENT_SECONDS) for b, c in pairwise(flat)]
    evidence = [OVERLAP_WORDS <= k < len(cue.lines) for k, cue in zip(overlap, flat, strict=True)]
    rolls = list(_in_a_row(evidence))
    if not any(rolls):
        return cues
    return [
        cue._replace(lines=(" ".join(words.lines[k:]),)) if rolling and k >= OVERLAP_WORDS else cue
        for cue, words, k, rolling in zip(cues, flat, overlap, rolls, strict=True)
    ]
