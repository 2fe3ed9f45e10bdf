"""The format of a file by its first bytes, whatever its name."""

import re

from understudy.errors import Refused
from understudy.readers.archive import Archive

PDF, ZIP, WORD, BOOK = "a PDF", "a zip archive", "a Word document", "an e-book (EPUB)"
PAGE, WEBVTT, TEXT, CAPTIONS = "an HTML page", "WebVTT captions", "plain text", "captions"
OLD_OFFICE = "an old Office file (.doc, .xls, .ppt); save it as .docx"

EXPECTED = {".pdf": PDF, ".docx": WORD, ".epub": BOOK, ".html": PAGE, ".htm": PAGE, ".txt": TEXT, ".md": TEXT}

_STARTS = [
    (re.compile(rb"\s*%PDF-"), PDF),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), ZIP),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), OLD_OFFICE),
    (re.compile(rb"\{\\rtf"), "an RTF file; save it as .docx"),
    (re.compile(rb"\x89PNG\r\n"), "a PNG image"),
    (re.compile(rb"\xff\xd8\xff"), "a JPEG image"),
    (re.compile(rb"GIF8[79]a"), "a GIF image"),
    (re.compile(rb"\x1f\x8b\x08|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"), "a packed archive"),
    (re.compile(rb"....ftyp|OggS\0|ID3[\x02-\x04]|\x1aE\xdf\xa3|RIFF....(?:WAVE|AVI )", re.DOTALL), "audio or video"),
    (re.compile(rb"(?:\xef\xbb\xbf)?WEBVTT\b"), WEBVTT),
    (
        re.compile(
            rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?>(?><!--.*?-->)\s*)*<(?:!doctype\s+)?html\b", re.I | re.S
        ),
        PAGE,
    ),
]


def check(raw: bytes, suffix: str) -> None:
    """Accept a file whose first bytes fit its name. Raises Refused with its actual format."""
    expected, actual = EXPECTED.get(suffix, CAPTIONS), kind(raw)
    if actual is None:
        fits = expected in (TEXT, CAPTIONS, PAGE) or (expected == PDF and b"%PDF-" in raw[:1024])
    else:
        # The readers treat SubRip and WebVTT alike, so one under the name of the other is still read correctly.
        fits = actual == expected or (actual, expected) == (WEBVTT, CAPTIONS)
    if fits:
        return
    if actual == OLD_OFFICE and expected == WORD and "EncryptedPackage".encode("utf-16-le") in raw:
        raise Refused("protected by a password; save it without one")
    raise Refused(f"named {suffix} but is not {expected}" + (f": it is {actual}" if actual else ""))


def kind(raw: bytes) -> str | None:
    """The format by the first bytes; None when they do not show one. Raises Refused for a broken archive."""
    name = next((name for pattern, name in _STARTS if pattern.match(raw[:4096])), None)
    return _kind_of_archive(raw) if name == ZIP else name


def _kind_of_archive(raw: bytes) -> str:
    with Archive(raw) as archive:
        if "META-INF/container.xml" in archive.names:
            return BOOK
        if "[Content_Types].xml" not in archive.names:
            return "an OpenDocument file; save it as .docx" if "content.xml" in archive.names else ZIP
        folders = {name.split("/")[0] for name in archive.names}
        other = {"xl": "an Excel workbook", "ppt": "a PowerPoint presentation"}
        return next((name for folder, name in other.items() if folder in folders), WORD)
