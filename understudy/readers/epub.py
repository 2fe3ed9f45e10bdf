"""The words of an e-book: its chapters in the order of its spine."""

import posixpath
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from understudy.errors import Refused
from understudy.readers import html
from understudy.readers.archive import Archive, local
from understudy.readers.decoding import decode
from understudy.readers.paragraphs import document
from understudy.records import Document, Entry

CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
PAGES = ("application/xhtml+xml", "text/html")


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """Every chapter, without the table of contents."""
    with Archive(raw) as archive:
        package_name = _package_name(archive)
        package = archive.xml(package_name)
        chapters = _chapters(package, posixpath.dirname(package_name))
        if not chapters:
            raise Refused("the e-book lists no chapter with text")
        if set(chapters) & _encrypted(archive):
            raise Refused("protected against copying (DRM)")
        blocks = [block for name in chapters for block in html.parse(decode(archive.read(name), declared=True)).blocks]
    properties = _properties(package)
    return document(blocks, entry, f"e-book {suffix}", properties)


def _package_name(archive: Archive) -> str:
    for node in archive.xml(CONTAINER).iter():
        if local(node.tag) == "rootfile" and node.get("full-path"):
            return node.get("full-path", "")
    raise Refused("named .epub but is not an e-book: it names no package")


def _chapters(package: Element, folder: str) -> list[str]:
    """Member names in reading order; the table of contents is left out."""
    items = {node.get("id"): node for node in package.iter() if local(node.tag) == "item"}
    contents = {
        _member(folder, node)
        for node in package.iter()
        if local(node.tag) == "reference" and node.get("type", "").lower() == "toc"
    }
    chapters = []
    for reference in package.iter():
        item = items.get(reference.get("idref")) if local(reference.tag) == "itemref" else None
        if item is None or item.get("media-type") not in PAGES or "nav" in item.get("properties", "").split():
            continue
        name = _member(folder, item)
        if name not in contents:
            chapters.append(name)
    return list(dict.fromkeys(chapters))


def _member(folder: str, node: Element) -> str:
    """The name inside the archive of what `node` points to; only looked up, never opened on disk."""
    return posixpath.normpath(posixpath.join(folder, unquote(node.get("href", "").partition("#")[0])))


def _encrypted(archive: Archive) -> set[str]:
    """Members that cannot be read; a book without DRM lists only its obfuscated fonts here."""
    if ENCRYPTION not in archive.names:
        return set()
    nodes = archive.xml(ENCRYPTION).iter()
    return {unquote(node.get("URI", "")).lstrip("/") for node in nodes if local(node.tag) == "CipherReference"}


def _properties(package: Element) -> dict[str, str]:
    """Title, language and day of publication; the first of each, and no date of another event."""
    properties: dict[str, str] = {}
    for node in package.iter():
        events = [value for name, value in node.attrib.items() if local(name) == "event"]
        if node.text and local(node.tag) in ("title", "language", "date") and events in ([], ["publication"]):
            properties.setdefault(local(node.tag), node.text)
    return properties
