"""
The words of one video, and the meaning of every failure to get them.

youtube-transcript-api sends three requests: the watch page, the player, the caption file. It sets no
timeout, gives no dates or durations, and knows languages by their exact code only; the session, the
recorder and the choice of a track below add these.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar
from typing import Any
from xml.etree.ElementTree import ParseError

import requests
import youtube_transcript_api as they
from requests.adapters import HTTPAdapter
from urllib3.util import Retry
from youtube_transcript_api import YouTubeTranscriptApi
from youtube_transcript_api.proxies import ProxyConfig

from understudy.errors import Blocked, Refused, SourceError, Transient
from understudy.readers.cues import Cue
from understudy.sources.youtube_tracks import DAY, Empty, Facts, Track, Words, best, running

HOUR = 3_600.0
TIMEOUT_SECONDS = (5.0, 20.0)
YOUNG = timedelta(hours=72)
WAYS_ROUND = {"po_token", "empty_body", "layout_changed"}  # another client may still get the words
_YOUTUBE = re.compile(r"^https://www\.youtube\.com(?=[/?]|$)")
_PUBLISHED = re.compile(r'"publishDate":\s*"(\d{4}-\d{2}-\d{2}[^"]*)"')
# What the library raises when the format of YouTube's pages has changed.
CHANGED = (KeyError, AttributeError, TypeError, IndexError, ValueError)
# (YouTube's message, status, seconds until the next attempt); the first match counts.
UNPLAYABLE: list[tuple[str, str, float | None]] = [
    (r"not a bot|unusual traffic|rate.?limit|try again later", "blocked", None),
    (r"confirm your age|inappropriate for some users|age.restricted", "age_restricted", None),
    (r"members?.only|join this channel|membership", "members_only", 30 * DAY),
    (r"private", "private", 30 * DAY),
    (r"will begin|premieres? in|live event|offline|live stream", "not_yet", DAY),
    (r"removed|terminated|no longer available|unavailable|deleted|copyright", "unavailable", None),
    (r"", "unplayable", 7 * DAY),
]


class Unreachable(Transient):
    """YouTube did not answer, or with a server error; carries the ledger's reason in case retries do not help."""

    def __init__(self, reason: str, status: str, retry_seconds: float) -> None:
        super().__init__(reason)
        self.status, self.retry_seconds = status, retry_seconds


class Recorder:
    """Fills in facts from the replies it sees; a hook of requests."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def __call__(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Read one reply."""
        if response.status_code != requests.codes.ok:
            return
        if "/watch" in response.url and (match := _PUBLISHED.search(response.text)):
            self.facts.published = match.group(1)
        if "/youtubei/v1/player" in response.url:
            try:
                content = response.json()
                details = content.get("videoDetails") or {}
            except (ValueError, AttributeError):
                return  # the library gets the same reply and reports what is wrong with it
            self.facts.title = details.get("title") or None
            self.facts.seconds = float(details.get("lengthSeconds") or 0) or None
            self.facts.language = _spoken(content.get("captions") or {})
            self.facts.channel_id = details.get("channelId")
            self.facts.running = bool(details.get("isLive") or details.get("isUpcoming"))


def _spoken(captions: dict[str, Any]) -> str | None:
    """The language of the generated captions of the first voice, where a video has several voices; else None."""
    try:
        listed = captions["playerCaptionsTracklistRenderer"]
        voice = listed["audioTracks"][listed.get("defaultAudioTrackIndex", 0)]
        tracks = [listed["captionTracks"][at] for at in voice["captionTrackIndices"]]
        return next((str(track["languageCode"]) for track in tracks if track.get("kind") == "asr"), None)
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


class Adapter(HTTPAdapter):
    """Never waits forever; with `base_url` all requests go to that server instead of YouTube."""

    def __init__(self, base_url: str | None, retries: int = 0, timeout: tuple[float, float] = TIMEOUT_SECONDS) -> None:
        self.base_url, self.timeout = base_url, timeout
        # A rotating proxy has another address for each attempt, so a 429 is worth a retry.
        super().__init__(max_retries=Retry(total=retries, status_forcelist=[429]) if retries else 0)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """The reply to `request`."""
        if self.base_url:
            request.url = _YOUTUBE.sub(self.base_url, request.url or "")
            if not request.url.startswith(self.base_url):
                raise SourceError(f"source.base_url is set, so no request is sent to {request.url.split('?')[0]}")
        if options.get("timeout") is None:
            options["timeout"] = self.timeout
        return super().send(request, *args, **options)


class Library:
    """youtube-transcript-api with our session. Not for several threads at once."""

    def __init__(self, base_url: str | None, proxy: ProxyConfig | None, cookies: CookieJar | None = None) -> None:
        self.session = requests.Session()
        self.session.trust_env = base_url is None
        self.session.cookies.update(cookies or {})
        self.api = YouTubeTranscriptApi(proxy_config=proxy, http_client=self.session)
        adapter = Adapter(base_url, proxy.retries_when_blocked if proxy else 0)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)

    def words(self, video_id: str, languages: Sequence[str], facts: Facts) -> Words:
        """The captions of a video; an empty file is requested once more, under a new address.

        Raises Refused, Blocked, Unreachable. Also fills `facts`.
        """
        self.session.hooks["response"] = [Recorder(facts)]
        try:
            try:
                return self._words(video_id, languages, facts)
            except (ParseError, Empty):
                return self._words(video_id, languages, facts)
        except (they.CouldNotRetrieveTranscript, requests.RequestException, ParseError, Empty, *CHANGED) as error:
            raise outcome(error, facts, datetime.now(UTC)) from None

    def _words(self, video_id: str, languages: Sequence[str], facts: Facts) -> Words:
        transcripts = self.api.list(video_id)
        tracks = [Track(t.language_code, t.is_generated, t) for t in transcripts]
        if facts.running:
            raise running()
        return best(tracks, languages, facts.seconds, _cues, facts.language)


def _cues(track: Track) -> list[Cue]:
    return [Cue(s.start, s.start + s.duration, tuple(s.text.split("\n"))) for s in track.handle.fetch()]


def outcome(error: Exception, facts: Facts, now: datetime) -> Refused | Blocked | Unreachable:
    """What an error of the libraries means for the ledger. The order of the tests matters.

    RetryError and JSONDecodeError are RequestExceptions too, so they are tested first.
    """
    name, words = type(error).__name__, reason(error)
    match error:
        case they.RequestBlocked() | requests.exceptions.RetryError():
            return Blocked(f"YouTube refuses this machine for now ({name})")
        case they.VideoUnplayable():
            return _unplayable(words)
        case they.TranscriptsDisabled() if facts.running:
            return running()
        case they.TranscriptsDisabled():
            return Refused(f"{words} ({name})", "no_captions", _captions_wait(facts.published, now))
        case they.NoTranscriptFound():
            return Refused(words, "no_language")
        case they.AgeRestricted():
            return Refused(f"{words} ({name})", "age_restricted")
        case they.VideoUnavailable() | they.InvalidVideoId():
            return Refused(f"{words} ({name})", "unavailable")
        case they.PoTokenRequired():
            return Refused(f"{words} ({name})", "po_token", 3 * DAY)
        case ParseError() | Empty():
            return Refused(f"YouTube sent an empty caption file ({words})", "empty_body", HOUR)
        case they.YouTubeRequestFailed():
            return _http(words)
        case requests.exceptions.JSONDecodeError() | they.CouldNotRetrieveTranscript():
            return _changed(name, words)
        case requests.exceptions.RequestException():
            return Unreachable(f"YouTube did not answer ({name})", "network", HOUR / 12)
    return _changed(name, words)


def reason(error: Exception) -> str:
    """The library's or YouTube's message on one line, without the requested address, which contains a key."""
    match error:
        case they.VideoUnplayable():
            words = ". ".join(str(part).rstrip(".") for part in (error.reason or "no reason given", *error.sub_reasons))
        case they.CouldNotRetrieveTranscript():
            words = error.cause.split("\n\n")[0]
        case _:
            words = str(error)
    return " ".join(words.split(" for url")[0].split())[:300]


def _unplayable(words: str) -> Refused | Blocked:
    status, retry = next((s, r) for pattern, s, r in UNPLAYABLE if re.search(pattern, words, re.IGNORECASE))
    if status == "blocked":
        return Blocked(f"YouTube refuses this machine for now: {words}")
    return Refused(words, status, retry)


def _http(words: str) -> Refused | Blocked | Unreachable:
    code = next(iter(re.findall(r"\b([45]\d\d) ", words)), "")
    if code == "403":
        return Blocked(f"YouTube refuses this machine for now: {words}")
    if code.startswith("4"):
        return Refused(words, "http_error", HOUR / 4)
    return Unreachable(words, "http_error", HOUR / 4)


def _changed(name: str, words: str) -> Refused:
    message = f"YouTube's pages look different ({name}: {words}); upgrade youtube-transcript-api and yt-dlp"
    return Refused(message, "layout_changed", DAY)


def _captions_wait(published: str | None, now: datetime) -> float:
    """Seconds until captions may exist: YouTube makes them within days of the upload."""
    try:
        uploaded = datetime.fromisoformat(published or "")
    except ValueError:
        return 30 * DAY
    age = now - (uploaded if uploaded.tzinfo else uploaded.replace(tzinfo=UTC))
    if age >= YOUNG:
        return 30 * DAY
    return next(hours * HOUR for hours in (6, 24, 72) if age < timedelta(hours=hours))
