"""The readers, which turn one file into one document, by the extension of its name."""

from collections.abc import Callable
from pathlib import Path

from understudy.errors import Refused
from understudy.readers import apart, caption_files, captions, docx, epub, html, pdf, plain, signatures
from understudy.records import Document, Entry
from understudy.text.words import one_line

VERSION = 2
"""Of all readers together: a file that another version refused is read again."""
LIMIT_BYTES = 25 * 1024 * 1024

Reader = Callable[[bytes, Entry, str], Document]
"""The bytes of a file, its entry and its extension in lower case. Raises Refused with the reason."""

READERS: dict[str, Reader] = {
    ".txt": plain.read,
    ".md": plain.read,
    ".html": html.read,
    ".htm": html.read,
    ".docx": docx.read,
    ".epub": epub.read,
    ".pdf": pdf.read,
    **dict.fromkeys(captions.FORMATS, caption_files.read),
}
APART = {".docx", ".epub", ".pdf"}
"""Formats that unpack to anything: read in a process of their own, within bounds of time and memory."""


def read(file: Path, entry: Entry) -> Document:
    """The whole file as a document. Raises Refused with the reason, whatever is wrong with the file."""
    try:
        suffix, raw = file.suffix.lower(), _checked(file)
        return apart.read(file, entry) if suffix in APART else _read(raw, entry, suffix)
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror or error}", retry_seconds=300) from None


def read_bytes(raw: bytes, entry: Entry, suffix: str) -> Document:
    """As `read`, of what is in no file; of formats that need no process of their own. Raises Refused."""
    assert suffix not in APART, suffix
    if not raw.strip():
        raise Refused("the file is empty")
    signatures.check(raw, suffix)
    return _read(raw, entry, suffix)


def read_here(file: Path, entry: Entry) -> Document:
    """As `read`, in this process."""
    return _read(file.read_bytes(), entry, file.suffix.lower())


def _checked(file: Path) -> bytes:
    """The content of a file that is what its name says. Raises Refused, OSError."""
    suffix = file.suffix.lower()
    if suffix not in READERS:
        raise Refused(f"files of type {file.suffix or 'without ending'} are not read; use {', '.join(READERS)}")
    if file.stat().st_size > LIMIT_BYTES:
        raise Refused(f"larger than {LIMIT_BYTES // 1024 // 1024} MB")
    raw = file.read_bytes()
    if not raw.strip():
        raise Refused("the file is empty")
    signatures.check(raw, suffix)
    return raw


def _read(raw: bytes, entry: Entry, suffix: str) -> Document:
    try:
        return READERS[suffix](raw, entry, suffix)
    except Refused:
        raise
    except RecursionError:
        raise Refused("its parts are nested too deep") from None
    except MemoryError:
        raise Refused("it needs too much memory") from None
    # A damaged file surfaces as almost any exception; none of them may end the run of a thousand others.
    except Exception as error:
        words = one_line(str(error), 100)
        raise Refused(f"it cannot be read as {suffix} ({type(error).__name__}{words and ': '}{words})") from None
