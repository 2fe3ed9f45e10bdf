"""RSS feeds of podcasts, as they are written: other namespaces for one thing, names of HTML, times in three forms."""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from understudy.errors import Refused
from understudy.readers.archive import local

_NAMED = re.compile(rb"&(?!amp;|lt;|gt;|quot;|apos;|#)(\w*;?)")


class Transcript(NamedTuple):
    """A transcript that an episode offers."""

    url: str
    type: str
    language: str | None


class Episode(NamedTuple):
    """One episode. Addresses are as the feed has them, maybe relative to it."""

    guid: str
    title: str
    published: str | None
    """As the feed writes it."""
    seconds: float | None
    language: str | None
    """Of the feed."""
    sound: str | None
    transcripts: tuple[Transcript, ...]

    def at(self, feed: str) -> "Episode":
        """The episode with whole addresses, given that of its feed."""
        transcripts = tuple(one._replace(url=urljoin(feed, one.url)) for one in self.transcripts)
        return self._replace(sound=self.sound and urljoin(feed, self.sound), transcripts=transcripts)


class Page(NamedTuple):
    """A feed, or one page of it."""

    episodes: list[Episode]
    next: str | None


def parse(raw: bytes) -> Page:
    """The episodes of a feed. Raises Refused."""
    try:
        try:
            root = fromstring(raw.strip())
        except ParseError:  # names that only HTML has, and bare &
            root = fromstring(_NAMED.sub(_unnamed, raw.strip()))
    except DefusedXmlException:
        raise Refused("a feed that declares its own entities is not read") from None
    except (ParseError, ValueError, LookupError) as error:
        raise Refused(f"the feed is not well-formed XML: {error}") from None
    if local(root.tag) not in ("rss", "RDF", "feed"):
        raise Refused(
            f"it is no feed: its root is <{local(root.tag)}>; the address of a podcast's page is not that of its feed"
        )
    channel = next((node for node in root if local(node.tag) == "channel"), root)
    language = _text(channel, "language")
    items = [node for node in root.iter() if local(node.tag) in ("item", "entry")]
    links = [node.attrib for node in channel if local(node.tag) == "link"]
    following = next((link["href"] for link in links if link.get("rel") == "next" and link.get("href")), None)
    return Page([episode for item in items if (episode := _episode(item, language))], following)


def _unnamed(match: re.Match[bytes]) -> bytes:
    named = match[0].decode(errors="replace")
    plain = html.unescape(named)
    return plain.encode("ascii", "xmlcharrefreplace") if plain != named else b"&amp;" + match[1]


def _episode(item: Element, language: str | None) -> Episode | None:
    sound = next(_sounds(item), None)
    transcripts = tuple(
        Transcript(node.attrib["url"].strip(), node.attrib.get("type", "").partition(";")[0].strip().lower(),
                   node.attrib.get("language"))
        for node in item if local(node.tag) == "transcript" and node.attrib.get("url", "").strip()
    )  # fmt: skip
    guid = _text(item, "guid") or _text(item, "id") or sound or _text(item, "link")
    if guid is None:
        return None
    published = _text(item, "pubDate") or _text(item, "published") or _text(item, "date")
    title = _text(item, "title") or guid
    return Episode(guid, title, published, _seconds(_text(item, "duration")), language, sound, transcripts)


def _sounds(item: Element) -> Iterator[str]:
    """Addresses of sound or video; one whose type is left out counts."""
    for node in item:
        kind = node.attrib.get("type", "audio/")
        if local(node.tag) == "enclosure" and kind.startswith(("audio/", "video/", "application/ogg")):
            yield from filter(None, [node.attrib.get("url", "").strip()])
        if local(node.tag) == "link" and node.attrib.get("rel") == "enclosure":
            yield from filter(None, [node.attrib.get("href", "").strip()])


def _text(node: Element, name: str) -> str | None:
    """The text of a child by its local name; of several the first that has one."""
    found = (" ".join((child.text or "").split()) for child in node if local(child.tag) == name)
    return next((text for text in found if text), None)


def _seconds(words: str | None) -> float | None:
    """'3600', '60:00' or '1:00:00'."""
    if words is None or not re.fullmatch(r"\d+(?:\.\d+)?|\d+:\d{1,2}(?::\d{1,2})?", words):
        return None
    seconds = 0.0
    for part in words.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds
