"""
A YouTube channel, a playlist or one video, by its captions.

Listings come from yt-dlp, captions from youtube-transcript-api, with yt-dlp's other client as the fallback for captions
that are empty or need a token. No video is downloaded; the sound of one only where its captions are missing and
`transcribe` is to write it down. Cookies and tokens are used where a person names their own, and nowhere kept.
"""

import os
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_serializer, model_serializer

from understudy.errors import Blocked, Refused, SourceError
from understudy.readers import captions, sound, speakers
from understudy.records import Document, Entry
from understudy.seams import CLOCK, Clock
from understudy.sources import youtube_cookies
from understudy.sources.youtube_address import addresses, identity, place_of
from understudy.sources.youtube_pace import Pace
from understudy.sources.youtube_tracks import ORIGINAL

if TYPE_CHECKING:
    from understudy.sources.youtube_tracks import Facts, Words
    from understudy.sources.youtube_transcripts import Library

PREFIX = "yt-"
NOTICE = (
    "YouTube's terms forbid automated access without its permission, no matter who owns the talks. A transcript "
    "belongs to its speaker or channel: keep it to yourself. What the model writes is to be labelled as AI in the "
    "style of the teacher, never as the teacher"
)
Tab = Literal["videos", "streams", "shorts"]


class ListedTalk(NamedTuple):
    """A talk of the listing, and the reason not to fetch it now where the listing already shows it."""

    entry: Entry
    early: Refused | None


class Proxy(BaseModel):
    """Your own proxy, for blocked addresses. Secrets stay in the environment."""

    model_config = ConfigDict(extra="forbid")
    use: Literal["none", "generic", "webshare"] = Field(default="none", description="which kind of proxy")
    url: str | None = Field(
        default=None, pattern=r"^[^@]*$", description="of a generic proxy without a password, e.g. http://host:8080"
    )
    url_env: str | None = Field(default=None, description="environment variable that holds the URL with its password")
    user_env: str = Field(default="WEBSHARE_USER", description="environment variable of the Webshare proxy user")
    password_env: str = Field(default="WEBSHARE_PASSWORD", description="environment variable of its password")

    def missing(self) -> list[str]:
        """The environment variables that the options name and that are not set."""
        names: list[str | None] = []
        if self.use != "none":
            names = [self.url_env] if self.use == "generic" else [self.user_env, self.password_env]
        return [name for name in names if name and not os.environ.get(name)]


class YoutubeSource:
    """Talks of a channel, newest first, from their captions."""

    class Options(BaseModel):
        """Options under `source:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        channel: str = Field(description="@handle, the address of a channel, playlist or video, or a video's id")
        tabs: list[Tab] = Field(
            default=["videos", "streams"], min_length=1, description="parts of a channel: videos, streams, shorts"
        )
        languages: list[str] = Field(
            default=[ORIGINAL],
            min_length=1,
            description="of captions, in order of preference; original: the one spoken in each video",
        )
        speaker: str | None = Field(
            default=None,
            description="whose talk it is where several speak: a name, or main; the others are context",
        )
        transcribe: sound.Transcribe = Field(
            default=sound.Transcribe(), description="writes down videos without captions from their sound, with Whisper"
        )
        second_way: bool = Field(default=True, description="try yt-dlp where captions are empty or need a token")
        seconds_between_videos: float = Field(default=8, ge=0, description="on average; each wait varies by up to 50 %")
        seconds_between_pages: float = Field(default=1, ge=0, description="pause between yt-dlp's own requests")
        videos_per_run: int = Field(default=60, ge=1, description="videos requested before the run ends")
        stop_after_known: int = Field(default=20, ge=1, description="known talks in a row that end a tab's listing")
        seed: int = Field(default=0, ge=0, description="of the waits between videos")
        proxy: Proxy = Field(default=Proxy(), description="a proxy for every request")
        cookies: Path | None = Field(
            default=None, description="cookies.txt of your own account, for videos that you may see; read, never copied"
        )
        po_token_env: str | None = Field(
            default=None, description="environment variable with a PO token of your own, as yt-dlp takes it"
        )
        base_url: str | None = Field(
            default=None, pattern=r"^https?://[^/]+$", description="a server to use instead of YouTube, for tests"
        )

        @field_serializer("languages")
        def _identity(self, languages: list[str]) -> list[str]:
            # Talks that were read while English was the default are not read, and paid for, again.
            return ["en"] if languages == [ORIGINAL] else languages

        @model_serializer(mode="wrap")
        def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
            # Talks of homes that knew no speaker are not read, and paid for, again.
            fields: dict[str, Any] = handler(self)
            return fields if self.speaker else {name: value for name, value in fields.items() if name != "speaker"}

    VERSION = 1
    INDIFFERENT = {
        "channel",
        "tabs",
        "second_way",
        "seconds_between_videos",
        "seconds_between_pages",
        "videos_per_run",
        "stop_after_known",
        "seed",
        "proxy",
        "cookies",
        "po_token_env",
        "transcribe",
        "base_url",
    }
    complete = False
    polite = True
    ids_are_global = True
    notice = NOTICE

    def __init__(self, options: Options, clock: Clock = CLOCK) -> None:
        self.options = options
        self.is_known: Callable[[str], bool] = lambda document_id: False
        self.pace = Pace(options.seconds_between_videos, options.videos_per_run, options.seed, clock)
        self.sound_folder: Path | None = None
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._blocked: str | None = None
        place = place_of(options.channel)
        self.identity = identity(options.channel) if place and place.kind != "video" else None

    @staticmethod
    def place(options: Options) -> str:
        """Which channel, playlist or video it is."""
        return identity(options.channel)

    def problems(self) -> list[str]:
        """Problems that make the channel unusable, as far as they show without a request to YouTube."""
        options, problems = self.options, []
        if place_of(options.channel) is None:
            problems.append(
                f"source.channel: {options.channel!r} is not a channel, playlist or video; "
                "write '@handle', an address on youtube.com, or a video's id of 11 characters"
            )
        proxy = options.proxy
        problems += [f"source.proxy: the environment variable {name} is not set" for name in proxy.missing()]
        if proxy.use == "generic" and not (proxy.url or proxy.url_env):
            problems.append("source.proxy: a generic proxy needs url or url_env")
        problems += options.transcribe.problems()
        if options.cookies and (problem := youtube_cookies.problem(options.cookies)):
            problems.append(f"source.cookies: {problem}")
        if options.po_token_env and not os.environ.get(options.po_token_env):
            problems.append(f"source.po_token_env: the environment variable {options.po_token_env} is not set")
        missing = [name for name in ("yt_dlp", "youtube_transcript_api") if find_spec(name) is None]
        if missing:
            problems.append(f"source: {', '.join(missing)} not installed; run `make setup`")
        return problems

    def entries(self) -> Iterator[Entry]:
        """Every talk worth fetching, newest first; see `list_talks`."""
        return (talk.entry for talk in self.list_talks() if talk.early is None)

    def list_talks(self) -> Iterator[ListedTalk]:
        """Every talk tab by tab, newest first, read from YouTube as far as it is iterated.

        A tab ends after `stop_after_known` talks in a row that `is_known` (of document ids) says are known.
        Raises SourceError, Transient, Blocked.
        """
        from understudy.sources.youtube_listing import listing

        place = place_of(self.options.channel)
        if place is None:
            raise SourceError(self.problems()[0])
        if place.kind == "video":
            yield ListedTalk(_entry(place.name, place.name), None)
            return
        seen: set[str] = set()
        for url in addresses(place, self.options.tabs):
            row = 0
            for item in listing(self._client(), url):
                entry = _entry(item.video_id, item.title)
                if entry.document_id not in seen:
                    seen.add(entry.document_id)
                    yield ListedTalk(entry, item.early)
                row = row + 1 if self.is_known(entry.document_id) else 0
                if row >= self.options.stop_after_known:
                    break
        if not seen:
            where = "" if place.kind == "playlist" else f" under {', '.join(self.options.tabs)} (source.tabs)"
            raise SourceError(f"{self.options.channel} lists no talks{where}")

    def fetch(self, entry: Entry) -> Document:
        """The whole talk, after its turn. After a block nothing is requested again.

        Raises Refused (with status and retry_seconds), Blocked, Transient, and Enough (a SourceError)
        once the run has fetched its number of videos. One at a time, from any thread.
        """
        with self._lock:
            if self._blocked:
                raise Blocked(self._blocked)
            with self.pace.turn():
                try:
                    return self._document(entry)
                except Blocked as error:
                    self._blocked = str(error)
                    raise

    def _document(self, entry: Entry) -> Document:
        """From its captions, or from its sound where it has none."""
        try:
            return self._captions(entry)
        except Refused as refused:
            if self.options.transcribe.use == "none" or refused.status not in sound.IN_PLACE_OF_CAPTIONS:
                raise
            return self._heard(entry, refused)

    def _captions(self, entry: Entry) -> Document:
        from understudy.sources.youtube_tracks import Facts

        facts = Facts()
        words, how = self._words(entry.locator, facts)
        talk = captions.clean(words.cues)
        if not talk.paragraphs:
            raise Refused("the captions contain no words", "empty_body", 3600)
        document = Document(
            document_id=entry.document_id,
            title=facts.title or entry.title,
            locator=entry.locator,
            how=f"{how}, {'generated' if words.generated else 'manual'}",
            language=words.code,
            published=facts.published[:10] if facts.published else entry.published,
            duration_seconds=facts.seconds,
            noise_tags=talk.noise_tags,
            speaker_changes=talk.speaker_changes,
            captions=len(words.cues),
            left_out=talk.left_out,
            lost_share=round(talk.lost_share, 3),
            paragraphs=talk.paragraphs,
        )
        return speakers.of_one(document, self.options.speaker)

    def _heard(self, entry: Entry, refused: Refused) -> Document:
        """The talk as Whisper hears it. Raises Refused, Blocked, Transient, SourceError."""
        from understudy.sources.youtube_sound import download
        from understudy.sources.youtube_tracks import Facts

        facts = Facts()

        def fetch(folder: Path) -> Path:
            return download(self._client(), entry.locator, folder, entry.title, facts)

        try:
            document = sound.read_fetched(fetch, entry, self.options.transcribe, self.sound_folder)
        except Refused as error:
            raise Refused(f"{refused}; its sound: {error}", refused.status, refused.retry_seconds) from None
        changes = {"title": facts.title or entry.title, "published": facts.published or entry.published}
        return speakers.of_one(document.model_copy(update=changes), self.options.speaker)

    def _words(self, video_id: str, facts: "Facts") -> "tuple[Words, str]":
        """The captions and the library they come from; the second library is the fallback."""
        from understudy.sources.youtube_transcripts import WAYS_ROUND, Library

        self._library = self._library or Library(self.options.base_url, self._proxy(), self._cookies())
        languages = self.options.languages
        try:
            return self._library.words(video_id, languages, facts), "youtube-transcript-api"
        except Refused as refused:
            if not self.options.second_way or refused.status not in WAYS_ROUND:
                raise
            first = refused
        from understudy.sources.youtube_listing import NotThisWay, words

        try:
            return words(self._client(), video_id, languages, facts), "yt-dlp"
        except (NotThisWay, Refused) as second:
            raise Refused(f"{first}; by yt-dlp: {second}", first.status, first.retry_seconds) from None

    def _client(self) -> Any:
        from understudy.sources.youtube_listing import Client

        config = self._proxy()
        proxy = config.to_requests_dict()["https"] if config else None
        token = os.environ.get(self.options.po_token_env or "")
        return Client(self.options.base_url, proxy, self.options.seconds_between_pages, self._cookies(), token)

    def _cookies(self) -> Any:
        return youtube_cookies.load(self.options.cookies) if self.options.cookies else None

    def _proxy(self) -> Any:
        from youtube_transcript_api.proxies import GenericProxyConfig, WebshareProxyConfig

        proxy = self.options.proxy
        if missing := proxy.missing():
            raise SourceError(f"source.proxy: the environment variable {missing[0]} is not set")
        if proxy.use == "generic":
            url = os.environ[proxy.url_env] if proxy.url_env else proxy.url
            return GenericProxyConfig(http_url=url, https_url=url)
        if proxy.use == "webshare":
            return WebshareProxyConfig(os.environ[proxy.user_env], os.environ[proxy.password_env])
        return None


def _entry(video_id: str, title: str) -> Entry:
    """An id may begin with '-' or '_', which a folder's name must not: hence the prefix, for all ids."""
    return Entry(document_id=f"{PREFIX}{video_id}", title=title, locator=video_id, revision=f"{video_id}.1")
