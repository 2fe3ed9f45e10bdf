"""Facts about a video, and the choice of one of its caption tracks, for both libraries."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from understudy.errors import Refused
from understudy.readers.cues import Cue
from understudy.text.words import word_count

WORDS_PER_MINUTE = (60, 260)
DAY = 86_400.0
ORIGINAL = "original"


class Facts:
    """What the replies for one video say about it, without an extra request."""

    def __init__(self) -> None:
        self.published: str | None = None
        self.title: str | None = None
        self.seconds: float | None = None
        self.channel_id: str | None = None
        self.running = False
        self.language: str | None = None
        """What is spoken in it, where the captions show it."""


class Track(NamedTuple):
    """One track on offer: its language, and what its library needs to fetch it."""

    code: str
    generated: bool
    handle: Any


class Words(NamedTuple):
    """The captions of one track."""

    code: str
    generated: bool
    cues: list[Cue]


class Empty(Exception):
    """The caption file contains no captions."""


def best(
    tracks: Iterable[Track],
    languages: Sequence[str],
    seconds: float | None,
    fetch: Callable[[Track], list[Cue]],
    original: str | None = None,
) -> Words:
    """The words of the best track in one of `languages`, where 'original' is the one spoken. Raises Refused, Empty.

    A manual track may be a chat or a few signs: when its words are not a plausible amount of speech for
    the length of the video, the generated track is fetched as well, and the more plausible one is used.
    """
    offered = list(tracks)
    original = original or _spoken(offered)
    wanted = [original or "en" if language == ORIGINAL else language for language in languages]
    # A generated track in another language is that of a dubbed voice.
    own = [t for t in offered if not (t.generated and original and _base(t.code.lower()) != _base(original.lower()))]
    order = ranked(own, wanted)
    if not order:
        there = ", ".join(f"{t.code} ({'generated' if t.generated else 'manual'})" for t in offered) or "none"
        raise Refused(f"no captions in {', '.join(languages)} (source.languages); there are: {there}", "no_language")
    track = order[0]
    cues = clipped(fetch(track), seconds)
    other = next((t for t in order[1:] if t.generated), None)
    if other and not track.generated and _oddness(cues, seconds) > 1:
        others = clipped(fetch(other), seconds)
        if _oddness(others, seconds) < _oddness(cues, seconds):
            track, cues = other, others
    if not cues:
        raise Empty("it contains no captions")
    return Words(track.code, track.generated, cues)


def _spoken(tracks: Sequence[Track]) -> str | None:
    """The language that the captions show to be spoken: that of the generated ones, or the only one there is."""
    generated = {_base(track.code.lower()): track.code for track in tracks if track.generated}
    every = {_base(track.code.lower()): track.code for track in tracks}
    only = generated or every
    return next(iter(only.values())) if len(only) == 1 else None


def ranked(tracks: Iterable[Track], languages: Sequence[str]) -> list[Track]:
    """The tracks in one of `languages`, best first.

    Language by language: manual before generated, the exact code before a variety ('en-GB' for 'en').
    """
    ranking = []
    for track in tracks:
        code = track.code.lower()
        wishes = [(at, language.lower()) for at, language in enumerate(languages)]
        ranks = [(at, track.generated, code != wish) for at, wish in wishes if _base(code) == _base(wish)]
        if ranks:
            ranking.append((min(ranks), track))
    return [track for _, track in sorted(ranking, key=lambda pair: pair[0])]


def clipped(cues: list[Cue], seconds: float | None) -> list[Cue]:
    """The cues within the video: a track can be longer than it."""
    if seconds is None:
        return cues
    return [cue._replace(end=min(cue.end, seconds)) for cue in cues if cue.start < seconds]


def running() -> Refused:
    """The refusal of a running stream: its captions would be incomplete."""
    return Refused("it is live now or has not begun", "not_yet", DAY)


def _base(code: str) -> str:
    return code.split("-", maxsplit=1)[0]


def _oddness(cues: list[Cue], seconds: float | None) -> float:
    """How far the words per minute are from those of speech, as a factor; 1 within."""
    words = sum(word_count(line) for cue in cues for line in cue.lines)
    if not words:
        return float("inf")
    if not seconds:
        return 1
    slowest, fastest = WORDS_PER_MINUTE
    per_minute = words / seconds * 60
    return max(slowest / per_minute, per_minute / fastest, 1)
