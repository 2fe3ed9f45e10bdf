"""A zip archive in memory, read only after its table of contents was checked."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, Self
from xml.etree.ElementTree import Element, ParseError

from understudy.errors import Refused

LIMIT_UNPACKED_BYTES = 200 * 1024 * 1024
SUSPICIOUS_RATIO, SUSPICIOUS_BYTES = 200, 10 * 1024 * 1024
ENCRYPTED = 0x1  # bit 0 of a member's flags (zip specification, section 4.4.4)
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


class Archive:
    """The members of a zip by name. Nothing in it is ever written to disk."""

    def __init__(self, raw: bytes) -> None:
        """Raises Refused for a broken archive, one with a password, and one that unpacks to far too much."""
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(raw))
        except BROKEN as error:
            raise Refused(f"a broken zip archive: {error}") from None
        members = self._zip.infolist()
        self.names = {member.filename for member in members}
        total = sum(member.file_size for member in members)
        if total > LIMIT_UNPACKED_BYTES:
            raise Refused(f"unpacks to {total // 1024 // 1024} MB; at most {LIMIT_UNPACKED_BYTES // 1024 // 1024} MB")
        for member in members:
            ratio = member.file_size / max(1, member.compress_size)
            if member.file_size > SUSPICIOUS_BYTES and ratio > SUSPICIOUS_RATIO:
                raise Refused(f"{member.filename!r} unpacks to {ratio:.0f} times its size: a zip bomb")
            if member.flag_bits & ENCRYPTED:
                raise Refused("protected by a password; save it without one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """One member. zipfile gives no more than the size in the table of contents, which was checked."""
        try:
            return self._zip.read(name)
        except KeyError:
            raise Refused(f"broken: {name!r} is missing in it") from None
        except BROKEN as error:
            raise Refused(f"broken: {name!r} in it cannot be unpacked ({error})") from None

    def xml(self, name: str) -> Element:
        """One member parsed. Raises Refused for broken XML and for XML that declares entities."""
        root: Element | None = None
        for _, node in self.xml_events(name, ("end",)):
            root = node  # the root ends last
        if root is None:
            raise Refused(f"broken: {name!r} in it is empty")
        return root

    def xml_events(self, name: str, events: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        """One member, tag by tag, so that no nesting is too deep. Raises Refused as `xml` does."""
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import iterparse

        try:
            yield from iterparse(io.BytesIO(self.read(name)), events)
        except DefusedXmlException:
            raise Refused(f"{name!r} in it declares its own entities; such XML is not read") from None
        except (ParseError, ValueError, LookupError) as error:
            raise Refused(f"broken: {name!r} in it is not well-formed XML ({error})") from None


def local(tag: Any) -> str:
    """The name of a tag or attribute without its namespace; '' for a comment."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
