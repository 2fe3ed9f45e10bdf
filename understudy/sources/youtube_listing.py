"""
The use of yt-dlp: the listing of a channel, and captions as the fallback.

Listings are read tab by tab and lazily: one request per 30 videos. Names of options and the text of
errors are those of yt-dlp 2026.10.26.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from http.cookiejar import Cookie
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import YoutubeDLError

from understudy.errors import Blocked, Refused, SourceError, Transient
from understudy.readers.cues import Cue
from understudy.sources.youtube_tracks import DAY, Empty, Facts, Track, Words, best

log = logging.getLogger("understudy.youtube")

HOSTS = re.compile(r"^https?://(?:www|m|youtubei)\.(?:youtube|googleapis)\.com(?=[/?]|$)")
BLOCK = re.compile(r"not a bot|unusual traffic|rate.?limit|try again later|being blocked|captcha", re.IGNORECASE)
VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_NO_TAB = re.compile(r"does not have an? \S+ tab")
_UNREACHABLE = re.compile(r"incomplete data|incomplete yt initial data", re.IGNORECASE)


class Item(NamedTuple):
    """One video of a listing, and the reason not to request it where the listing shows one."""

    video_id: str
    title: str
    early: Refused | None


class NotThisWay(Exception):
    """yt-dlp does not get the captions either; the message is its own."""


class Client(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp without a cache, a terminal or a JavaScript program; with `base_url` all requests go there."""

    def __init__(
        self,
        base_url: str | None,
        proxy: str | None,
        seconds_between_pages: float,
        cookies: Iterable[Cookie] | None = None,
        po_token: str | None = None,
    ) -> None:
        self.base_url = base_url
        self.messages: list[str] = []
        super().__init__(
            {
                "quiet": True,
                "no_warnings": True,
                "color": "never",
                "logger": _Quiet(self.messages),
                "cachedir": False,
                "skip_download": True,
                "extract_flat": "in_playlist",
                "socket_timeout": 20,
                "extractor_retries": 2,
                "retry_sleep_functions": {"extractor": lambda n: seconds_between_pages * 2**n},
                "sleep_interval_requests": seconds_between_pages,
                "js_runtimes": {},
                "proxy": proxy or ("" if base_url else None),
                "writesubtitles": True,
                "writeautomaticsub": True,
                "ignore_no_formats_error": True,
                # yt-dlp would request a playlist again to show its hidden videos, and take that answer for incomplete.
                "compat_opts": ["no-youtube-unavailable-videos"],
                # Without it a lost page ends the listing with a warning, and older videos seem not to exist.
                "extractor_args": {
                    "youtube": {
                        "raise_incomplete_data": ["1"],
                        "skip": ["translated_subs", "hls", "dash"],
                        "player_skip": ["initial_data"],
                        **({"po_token": [po_token]} if po_token else {}),
                    }
                },
            }
        )
        for cookie in cookies or ():  # not by its option `cookiefile`, which it would write to at the end
            self.cookiejar.set_cookie(cookie)

    def urlopen(self, req: Request | str) -> Any:
        """The answer of YouTube, or of `base_url` instead."""
        request = Request(req) if isinstance(req, str) else req
        if self.base_url:
            request.url = HOSTS.sub(self.base_url, request.url)
            if not request.url.startswith(self.base_url):
                raise SourceError(f"source.base_url is set, so no request is sent to {urlsplit(request.url).hostname}")
        return super().urlopen(request)


class _Quiet:
    """yt-dlp's messages go to our log, at DEBUG; its warnings are stored, and its errors are raised anyway."""

    def __init__(self, messages: list[str]) -> None:
        self.messages = messages

    def debug(self, message: str) -> None:
        """Everything but warnings."""
        log.debug("%s", message)

    def warning(self, message: str) -> None:
        """For a video that cannot be played this is yt-dlp's only message."""
        self.messages.append(plain(message))
        log.debug("%s", message)

    info = error = debug


def listing(client: Client, url: str) -> Iterator[Item]:
    """The videos at `url`, newest first, page by page; none where a channel has no such tab.

    Raises SourceError for a channel or playlist that cannot be read, Transient, Blocked.
    """
    with client:
        try:
            for fields in _flat(client, url):
                if VIDEO_ID.fullmatch(fields.get("id") or ""):
                    yield Item(fields["id"], fields.get("title") or fields["id"], _early(fields))
        except YoutubeDLError as error:
            if not _NO_TAB.search(str(error)):
                raise failure(error, url) from None


def _flat(client: Client, url: str) -> Iterator[dict[str, Any]]:
    fields = client.extract_info(url, download=False, process=False)
    # Redirected to a regional channel.
    if fields and fields.get("_type") == "url" and fields.get("ie_key") != "Youtube":
        fields = client.extract_info(fields["url"], download=False, process=False)
    yield from (entry for entry in (fields or {}).get("entries") or [] if entry)


def _early(fields: dict[str, Any]) -> Refused | None:
    if fields.get("live_status") in ("is_live", "is_upcoming"):
        words = "is live now" if fields["live_status"] == "is_live" else "has not begun"
        return Refused(f"the listing says that it {words}", "not_yet", DAY)
    if fields.get("availability") in ("subscriber_only", "premium_only"):
        return Refused("the listing says it is for members only", "members_only", 30 * DAY)
    return None


def failure(error: YoutubeDLError, where: str) -> SourceError | Transient:
    """What a yt-dlp error means for the whole source."""
    cause, words = _cause(error), plain(str(error))
    status = cause.status if isinstance(cause, HTTPError) else None
    if status in (403, 429) or BLOCK.search(words):
        return Blocked(f"YouTube refuses this machine for now: {words}")
    if status == 404:
        return SourceError(f"YouTube has nothing at {where} (404); check source.channel")
    if isinstance(cause, HTTPError | TransportError) or _UNREACHABLE.search(words):
        way_out = "; check source.proxy: it does not answer, or refuses the login" if "proxy" in words.lower() else ""
        return Transient(f"{where} could not be listed: {words}{way_out}")
    return SourceError(f"{where} cannot be listed: {words}; check source.channel")


def _cause(error: BaseException) -> BaseException:
    """The network error at the bottom of a yt-dlp error, or the error itself."""
    below = getattr(error, "cause", None) or (getattr(error, "exc_info", None) or (None, None))[1]
    if isinstance(below, BaseException) and below is not error:
        return _cause(below) if not isinstance(below, HTTPError | TransportError) else below
    return error


def plain(message: str) -> str:
    """yt-dlp's message without its prefix and its request to report a bug."""
    message = re.sub(r"^(?:ERROR: )?(?:\[[\w:+-]+\] (?:\S+: )?)?", "", " ".join(message.split()))
    return re.split(r"; please report this issue|\. Use --cookies| \(caused by | with url| for url", message)[0].rstrip(
        "."
    )[:300]


def words(client: Client, video_id: str, languages: Sequence[str], facts: Facts) -> Words:
    """The captions another YouTube client gives for a video, never a translation.

    Raises Blocked, Refused and, for every error of yt-dlp, NotThisWay.
    """
    try:
        with client:
            info = client.extract_info(f"https://www.youtube.com/watch?v={video_id}", download=False, process=False)
            facts.title = facts.title or info.get("title")
            facts.seconds = facts.seconds or info.get("duration")
            facts.published = facts.published or dashed(info.get("upload_date"))
            tracks = list(_tracks(info))
            spoken = facts.language or _spoken(info)
            if not tracks:
                raise _nothing(client.messages)
            return best(tracks, languages, facts.seconds, lambda track: _cues(client, track), spoken)
    except YoutubeDLError as error:
        outcome = failure(error, video_id)
        raise outcome if isinstance(outcome, Blocked) else NotThisWay(plain(str(error))) from None
    except (Empty, ValueError) as error:
        raise NotThisWay(str(error)) from None


def _nothing(messages: Sequence[str]) -> Blocked | NotThisWay:
    """Why a video has no track: a refusal of this machine shows only in yt-dlp's warnings."""
    if block := next((words for words in messages if BLOCK.search(words)), None):
        return Blocked(f"YouTube refuses this machine for now: {block}")
    return NotThisWay(messages[-1] if messages else "no captions")


def dashed(date: str | None) -> str | None:
    """A date of yt-dlp, 20260901, as 2026-09-01."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else None


def _spoken(info: dict[str, Any]) -> str | None:
    """What yt-dlp says of the language: of the video, or of the one generated track that is no translation."""
    codes = [code for code in info.get("automatic_captions") or {} if code.endswith("-orig")]
    return info.get("language") or (codes[0].removesuffix("-orig") if len(codes) == 1 else None)


def _tracks(info: dict[str, Any]) -> Iterator[Track]:
    for field, generated in (("subtitles", False), ("automatic_captions", True)):
        for code, files in (info.get(field) or {}).items():
            for file in files:
                if file.get("ext") == "json3" and "tlang" not in parse_qs(urlsplit(file["url"]).query):
                    yield Track(code.removesuffix("-orig"), generated, file["url"])


def _cues(client: Client, track: Track) -> list[Cue]:
    raw = client.urlopen(track.handle).read()
    events = json.loads(raw).get("events", []) if raw.strip() else []
    return [cue for event in events if (cue := _cue(event))]


def _cue(event: dict[str, Any]) -> Cue | None:
    """One json3 event; those without segments only place a window on the screen."""
    text = "".join(part.get("utf8", "") for part in event.get("segs") or [])
    start = event.get("tStartMs", 0) / 1000
    return Cue(start, start + event.get("dDurationMs", 0) / 1000, tuple(text.split("\n"))) if text.strip() else None
