"""The text of a file, whose encoding is guessed or declared by the file itself."""

import re

from understudy.errors import Refused

_DECLARED = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9._:-]+)", re.IGNORECASE)
_FIRST_BYTES = 2048


def decode(raw: bytes, declared: bool = False) -> str:
    """UTF-8, UTF-16 with its mark, else what the text declares (HTML, XML), else Windows-1252.

    Raises Refused for anything that is not text.
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if b"\0" in raw:
        raise Refused("a binary file, not text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _decode_declared(raw) if declared else raw.decode("cp1252", errors="replace")
    if sum(c == "\ufffd" or (ord(c) < 32 and c not in "\t\n\r\f") for c in text) > len(text) / 100:
        raise Refused("a binary file, not text")
    return text


def _decode_declared(raw: bytes) -> str:
    match = _DECLARED.search(raw[:_FIRST_BYTES])
    name = match.group(1).decode().lower() if match else "cp1252"
    # Pages that declare Latin-1 are Windows-1252 (WHATWG encoding standard); declared UTF-8 failed above.
    if name in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii") or name.startswith("utf"):
        name = "cp1252"
    try:
        return raw.decode(name, errors="replace")
    except (LookupError, UnicodeError):
        return raw.decode("cp1252", errors="replace")
