"""
A podcast, by its feed: the transcripts that it offers, and its sound where it offers none.

An episode's transcripts are in `podcast:transcript`, as files of captions, text or HTML; its sound is in `enclosure`.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import Refused, SourceError
from understudy.progress import track
from understudy.readers import LIMIT_BYTES, feeds, read_bytes, sound, speakers
from understudy.readers.feeds import Episode
from understudy.records import Document, Entry, sha256_of
from understudy.seams import CLOCK, Clock
from understudy.sources.web import DAY, Web
from understudy.sources.youtube_pace import Pace
from understudy.text.words import slug

FORMATS = {
    "text/vtt": ".vtt",
    "application/x-subrip": ".srt",
    "application/srt": ".srt",
    "text/srt": ".srt",
    "application/json": ".json",
    "text/html": ".html",
    "text/plain": ".txt",
}
"""Types of transcripts, in the order in which they are preferred: those with times first."""
FEED_BYTES = 60_000_000
FEED_PAGES = 50
UNLIMITED = 10**9


class PodcastSource:
    """The episodes of a feed, in its order."""

    class Options(BaseModel):
        """Options under `source:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        feed: str = Field(description="the address of the podcast's RSS feed, or a file with it")
        min_words: int = Field(default=50, ge=1, description="a shorter episode, such as a trailer, is refused")
        speaker: str | None = Field(
            default=None,
            description="whose talk it is where several speak: a name, or main; the others are context",
        )
        transcribe: sound.Transcribe = Field(
            default=sound.Transcribe(), description="writes down episodes without a transcript, with Whisper"
        )
        seconds_between_episodes: float = Field(default=1, ge=0, description="on average; each wait varies by 50 %")

    VERSION = 1
    INDIFFERENT = {"feed", "seconds_between_episodes", "transcribe"}
    complete = False  # many feeds list only their newest episodes
    polite = True
    ids_are_global = True
    notice = (
        "A podcast belongs to those who make it, and a transcript with it: keep it to yourself unless they allow more. "
        "What the model writes is to be labelled as AI in the style of the teacher, never as the teacher"
    )

    def __init__(self, options: Options, clock: Clock = CLOCK) -> None:
        self.options = options
        self.is_known: Callable[[str], bool] = lambda document_id: False
        self.sound_folder: Path | None = None
        self.pace = Pace(options.seconds_between_episodes, UNLIMITED, clock=clock)
        self.identity = f"feed {self.place(options)}"
        self._web, self._lock = Web(), threading.Lock()
        self._episodes: dict[str, Episode] | None = None

    @staticmethod
    def place(options: Options) -> str:
        """Which feed it is, by http or https."""
        return options.feed.strip().removeprefix("http://").removeprefix("https://").rstrip("/")

    def problems(self) -> list[str]:
        """Problems that make the feed unusable, as far as they show without a request."""
        problems = self.options.transcribe.problems()
        feed = self.options.feed.strip()
        if feed.startswith(("http://", "https://")):
            if not urlsplit(feed).hostname:
                problems.append(f"source.feed: {feed!r} is no address on the web")
        elif not Path(feed).is_file():
            problems.append(f"source.feed: {feed!r} is neither an address (https://...) nor a file that is there")
        return problems

    def list_talks(self) -> Iterator[tuple[Entry, Refused | None]]:
        """Every episode; refused is one without a transcript whose sound is not to be written down.

        Raises SourceError, Transient.
        """
        with self._lock:
            self._episodes = self._read_feed()
        for document_id, episode in self._episodes.items():
            entry = Entry(
                document_id=document_id,
                title=episode.title,
                locator=episode.guid,
                revision="1",
                published=_date(episode.published),
                duration_seconds=episode.seconds,
            )
            yield entry, self._early(episode)

    def entries(self) -> Iterator[Entry]:
        """Every episode that can be read."""
        return (entry for entry, refusal in self.list_talks() if refusal is None)

    def fetch(self, entry: Entry) -> Document:
        """The whole episode. Raises Refused with the reason, Transient, SourceError."""
        with self._lock:
            if self._episodes is None:
                self._episodes = self._read_feed()
            episode = self._episodes.get(entry.document_id)
            if episode is None:
                raise Refused("it is no longer in the feed", "unavailable", 30 * DAY)
            with self.pace.turn():
                document = self._document(episode, entry)
        if document.words < self.options.min_words:
            raise Refused(
                f"only {document.words} words; an episode has at least {self.options.min_words} (source.min_words)"
            )
        return speakers.of_one(document, self.options.speaker)

    def seconds_of_sound(self, entry: Entry) -> float | None:
        """How long an episode is that has to be written down first."""
        episode = (self._episodes or {}).get(entry.document_id)
        return None if episode and episode.transcripts else entry.duration_seconds

    def _early(self, episode: Episode) -> Refused | None:
        if episode.transcripts or (episode.sound and self.options.transcribe.use != "none"):
            return None
        if not episode.sound:
            return Refused("the feed has neither a transcript nor sound of it", "no_captions", DAY)
        return Refused(
            f"the feed has no transcript of it; to have its sound written down: {sound.INSTALL}, then "
            "--set source.transcribe.use=faster_whisper",
            "no_captions",
            DAY,
        )

    def _document(self, episode: Episode, entry: Entry) -> Document:
        reasons = []
        for transcript in sorted(episode.transcripts, key=lambda one: _rank(one, episode.language)):
            suffix = _suffix(transcript)
            if suffix is None:
                reasons.append(f"a transcript of type {transcript.type or 'unknown'} is not read")
                continue
            try:
                document = read_bytes(self._web.get(transcript.url, LIMIT_BYTES), entry, suffix)
            except Refused as refusal:
                reasons.append(str(refusal))
                continue
            language = document.language or transcript.language or episode.language
            facts = {"published": _date(episode.published), "duration_seconds": episode.seconds, "language": language}
            changes = {name: value for name, value in facts.items() if value is not None}
            return document.model_copy(update=changes | {"how": f"podcast, {document.how}"})
        if not episode.sound or self.options.transcribe.use == "none":
            raise Refused("; ".join(reasons) or str(self._early(episode)), "no_captions", DAY)
        return self._heard(episode, entry)

    def _heard(self, episode: Episode, entry: Entry) -> Document:
        """The episode as Whisper hears it; its sound is deleted once it is written down."""
        address = episode.sound
        assert address, "an episode without sound is refused before"

        def fetch(folder: Path) -> Path:
            file = folder / f"{entry.document_id}{Path(urlsplit(address).path).suffix[:5] or '.mp3'}"
            if not file.exists():
                with track(f"download {entry.title}") as progress:
                    self._web.download(address, file, progress)
            return file

        document = sound.read_fetched(fetch, entry, self.options.transcribe, self.sound_folder)
        return document.model_copy(update={"published": _date(episode.published), "how": f"podcast, {document.how}"})

    def _read_feed(self) -> dict[str, Episode]:
        """Every episode by the id of its document, page by page. Raises SourceError, Transient."""
        feed, episodes, seen = self.options.feed.strip(), dict[str, Episode](), set[str]()
        following: str | None = feed
        while following and following not in seen and len(seen) < FEED_PAGES:
            seen.add(following)
            try:
                local = not following.startswith(("http://", "https://"))
                raw = Path(following).read_bytes() if local else self._web.get(following, FEED_BYTES)
                page = feeds.parse(raw)
            except (Refused, OSError) as error:
                raise SourceError(f"source.feed: {error}") from None
            for episode in page.episodes:
                whole = episode.at(following) if not local else episode
                episodes.setdefault(f"pod-{sha256_of(episode.guid.encode())[:12]}", whole)
            following = urljoin(following, page.next) if page.next and not local else None
        if not episodes:
            raise SourceError(f"source.feed: {feed} lists no episodes")
        return episodes


def feed_name(feed: str) -> str:
    """A preset name for a feed, e.g. 'example-org-tea' for 'https://example.org/tea/feed.xml'."""
    parts = urlsplit(feed)
    path = re.sub(r"(?:^|/)(?:feed|rss|index|podcast)?(?:\.xml|\.rss)?/?$", "", parts.path)
    host = (parts.hostname or "").removeprefix("www.").removeprefix("feeds.")
    return slug(f"{host} {path if host else Path(feed).stem}")[:60].strip("-") or "podcast"


def _suffix(transcript: feeds.Transcript) -> str | None:
    """The format of a transcript as the ending of a file; None for one that is not read."""
    ending = Path(urlsplit(transcript.url).path).suffix.lower()
    return FORMATS.get(transcript.type) or (ending if ending in FORMATS.values() else None)


def _rank(transcript: feeds.Transcript, spoken: str | None) -> tuple[bool, int]:
    """What is read first sorts first: the language that is spoken, then what has times."""
    order: Sequence[str] = list(FORMATS.values())
    suffix = _suffix(transcript)
    foreign = bool(spoken and transcript.language and transcript.language[:2] != spoken[:2])
    return foreign, order.index(suffix) if suffix else len(order)


def _date(words: str | None) -> str | None:
    """'Tue, 01 Sep 2026 10:00:00 GMT' as 2026-09-01."""
    with suppress(ValueError, TypeError, IndexError):
        return parsedate_to_datetime(words or "").date().isoformat()
    with suppress(ValueError):
        return datetime.fromisoformat(words or "").date().isoformat()
    return None
