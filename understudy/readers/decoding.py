"""The text of a file, whose encoding is marked, declared by the file itself, or detected; never a guess."""

import codecs
import re

from understudy.errors import Refused
from understudy.readers.encodings import detected

UNKNOWN = "the encoding is not known; save it as UTF-8"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9._:-]+)", re.IGNORECASE)
_DECLARED_WITHIN = 200_000
# What pages mean by these names (WHATWG encoding standard), as Python calls it.
_MEANT = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "macintosh": "mac_roman",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
}
_NO_CLAIM = frozenset(("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii", "windows-1252", "cp1252"))
"""Declared by programs that do not look: such a text is what it looks like."""
_VALID = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_BEYOND = re.compile(rb"[\x80-\xff]")


def decode(raw: bytes, declared: bool = False) -> str:
    """UTF-8, marked or not; UTF-16 and UTF-32; what the text declares (HTML, XML); else what it can only be.

    Raises Refused for anything that is not text, and for text that may be one thing or another.
    """
    mark = next((encoding for start, encoding in _MARKS if raw.startswith(start)), None)
    if mark:
        return _checked(raw.decode(mark, errors="replace"))
    if b"\0" in raw:
        return _unmarked(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode(_encoding(raw, declared), errors="replace")
    else:
        if "\x1b$" in text:  # Japanese of e-mails, which is ASCII to look at
            text = raw.decode("iso2022_jp", errors="replace")
    return _checked(text)


def _checked(text: str) -> str:
    if sum(c == "\ufffd" or (ord(c) < 32 and c not in "\t\n\r\f") for c in text) > len(text) / 100:
        raise Refused("a binary file, not text")
    return text


def _unmarked(raw: bytes) -> str:
    """UTF-16 or UTF-32 without its mark, by where the zeros are."""
    best, share = "", 0.0
    for encoding, size in (("utf-16-le", 2), ("utf-16-be", 2), ("utf-32-le", 4), ("utf-32-be", 4)):
        text = raw[: len(raw) // size * size].decode(encoding, errors="replace")
        start = text[:20_000]
        ordinary = sum(map(str.isprintable, start)) - 9 * start.count("\ufffd") - 9 * start.count("\0")
        # Of two readings the one with spaces and points is right: bytes the wrong way round are letters of anywhere.
        ordinary += 3 * sum(map(start.count, " \n,.，。、"))
        if ordinary > share * len(start):
            best, share = text, ordinary / len(start)
    if share < 1.05:
        raise Refused("a binary file, not text")
    return _checked(best)


def _encoding(raw: bytes, declared: bool) -> str:
    """The encoding of a text that is not valid UTF-8. Raises Refused when it is not sure."""
    beyond = len(_BEYOND.findall(raw))
    valid = sum(len(match) for match in _VALID.findall(raw))
    if valid and beyond - valid <= valid / 20:
        return "utf-8"  # with a broken letter here and there
    name = _declared(raw) if declared else None
    if name and name not in _NO_CLAIM:
        lost = raw.decode(_MEANT.get(name, name), errors="replace").count("\ufffd")
        if lost <= beyond / 100:
            return _MEANT.get(name, name)
    if found := detected(raw):
        return found
    if name in _NO_CLAIM:
        return "cp1252"
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in raw)
    raise Refused("a binary file, not text" if controls > len(raw) / 100 else UNKNOWN)


def _declared(raw: bytes) -> str | None:
    """The encoding that the text names, if Python knows it; UTF-8 failed already."""
    match = _DECLARED.search(raw[:_DECLARED_WITHIN])
    name = match.group(1).decode().lower() if match else ""
    try:
        "".encode(_MEANT.get(name, name))
    except LookupError:
        return None
    return None if name.startswith(("utf", "unicode")) else name
