"""The readers, which turn one file into one document, by the extension of its name."""

from collections.abc import Callable
from pathlib import Path

from understudy.errors import Refused
from understudy.readers import caption_files, docx, epub, html, pdf, plain, signatures
from understudy.records import Document, Entry

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
    ".vtt": caption_files.read,
    ".srt": caption_files.read,
    ".json3": caption_files.read,
    ".xml": caption_files.read,
}


def read(file: Path, entry: Entry) -> Document:
    """The whole file as a document. Raises Refused with the reason."""
    suffix = file.suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        raise Refused(f"files of type {file.suffix or 'without ending'} are not read; use {', '.join(READERS)}")
    if file.stat().st_size > LIMIT_BYTES:
        raise Refused(f"larger than {LIMIT_BYTES // 1024 // 1024} MB")
    raw = file.read_bytes()
    if not raw.strip():
        raise Refused("the file is empty")
    signatures.check(raw, suffix)
    return reader(raw, entry, suffix)
