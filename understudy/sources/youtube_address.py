"""The forms of the option `channel`, and the addresses derived from it."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple
from urllib.parse import unquote

from understudy.records import sha256_of
from understudy.text.words import slug

SITE = "https://www.youtube.com"
_ID = r"([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])"
_VIDEO = re.compile(rf"[?&]v={_ID}|/(?:shorts|live|embed|v)/(?!videoseries){_ID}|youtu\.be/{_ID}")
_LIST = re.compile(r"[?&]list=([A-Za-z0-9_-]+)")
_BARE_LIST = re.compile(r"(?:PL|UU|FL|OL)[A-Za-z0-9_-]{11,}")
_BARE_CHANNEL = re.compile(r"UC[A-Za-z0-9_-]{22}")
_CHANNEL = re.compile(r"/?(@[^/?#\s]+|(?:channel|c|user)/[^/?#\s]+)(?:/([a-z]+))?/?(?:[?#].*)?")
_HOST = re.compile(r"^(?:https?://)?(?:(?:www|m|music)\.)?(?:youtube(?:-nocookie)?\.com|(?=youtu\.be/))", re.IGNORECASE)


class Place(NamedTuple):
    """Where `channel` points."""

    kind: Literal["channel", "playlist", "video"]
    name: str
    tab: str | None = None


def place_of(text: str) -> Place | None:
    """The channel, playlist or video that `text` names; None when it names none.

    An address with a video and a playlist means the video.
    """
    text = text.strip()
    if re.fullmatch(_ID, text):
        return Place("video", text)
    if _BARE_CHANNEL.fullmatch(text):
        return Place("channel", f"channel/{text}")
    if _BARE_LIST.fullmatch(text):
        return Place("playlist", text)
    host = _HOST.match(text)
    if host is None:
        match = _CHANNEL.fullmatch(text) if text.startswith("@") else None
    elif video := _VIDEO.search(text):
        return Place("video", next(filter(None, video.groups())))
    elif playlist := _LIST.search(text):
        return Place("playlist", playlist.group(1))
    else:
        match = _CHANNEL.fullmatch(text[host.end() :])
    return Place("channel", *match.groups()) if match else None


def identity(text: str) -> str:
    """What makes a channel, playlist or video itself: no tab, no query; a handle in any case is the same handle."""
    place = place_of(text)
    if place is None:
        return text.strip()
    return f"{place.kind} {unquote(place.name).lower() if place.name.startswith('@') else place.name}"


def folder_name(text: str) -> str:
    """The name of the folder of a channel; with a digest where its own name has other letters than a to z."""
    name = identity(text).rpartition("/")[2].partition(" ")[2] or identity(text).rpartition("/")[2]
    plain = slug(name)[:60].strip("-")
    if plain and name.isascii():
        return plain
    return f"{plain or 'channel'}-{sha256_of(name.encode())[:8]}"


def old_folder_name(text: str) -> str:
    """The name that versions up to 0.3 gave it: the last part of the address, be it a tab."""
    return slug(text.rstrip("/").split("/")[-1])[:60] or "channel"


def addresses(place: Place, tabs: Sequence[str]) -> list[str]:
    """What to list, one address per tab; a tab in the address itself is the only one."""
    if place.kind == "playlist":
        return [f"{SITE}/playlist?list={place.name}"]
    wanted = [place.tab] if place.tab in ("videos", "streams", "shorts") else tabs
    return [f"{SITE}/{place.name}/{tab}" for tab in wanted]
