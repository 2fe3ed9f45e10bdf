"""The words of a PDF with text, read by pypdf."""

import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from understudy.errors import Refused
from understudy.readers.lines import joined, without_running_lines
from understudy.readers.paragraphs import document
from understudy.records import Document, Entry

if TYPE_CHECKING:
    import pypdf

UNREADABLE = "not a PDF that can be read"
PAGES_WITHOUT_TEXT = 0.5  # a talk with a few pictures is fine, a scan with a typed cover is not
LETTERS_LOST = 0.2

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\xa0": " "})
_LOST = re.compile("[\x00-\x08\x0e-\x1f\ufffd\ue000-\uf8ff]")
_NO_TITLE = re.compile(
    r"untitled|microsoft (?:word|powerpoint)\b|.*\.(?:docx?|pdf|tex|pptx?|odt|indd|qxd)$", re.IGNORECASE
)


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """The text without running heads, page numbers and hyphens at line ends."""
    pages, properties = _pages(raw)
    empty = sum(not page.strip() for page in pages)
    if empty > len(pages) * PAGES_WITHOUT_TEXT:
        raise Refused(f"scanned, needs OCR: {empty} of {len(pages)} pages have no text")
    text = "".join(pages)
    if len(_LOST.findall(text)) > len(text) * LETTERS_LOST:
        raise Refused("its fonts do not map to letters, needs OCR")
    lines = without_running_lines([list(_lines(page)) for page in pages])
    if not lines:
        raise Refused("nothing but page numbers and lines that every page repeats")
    return document(joined(lines), entry, f"pdf {suffix}", properties, guess_title=True)


def _pages(raw: bytes) -> tuple[list[str], dict[str, str]]:
    """The raw text of each page, and the file's own properties."""
    import pypdf
    from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # else it logs every small flaw it works around
    try:
        reader = pypdf.PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("protected by a password; save it without one")
        pages = [page.extract_text() for page in reader.pages]
        properties = _properties(reader)
    except Refused:
        raise
    except (FileNotDecryptedError, DependencyError):
        raise Refused("protected by a password; save it without one") from None
    except LimitReachedError as error:
        raise Refused(f"{UNREADABLE}: it unpacks to far too much ({error})") from None
    # A broken file surfaces as almost any exception of pypdf's own code; all of them mean the same here.
    except Exception as error:
        raise Refused(f"{UNREADABLE}: {str(error) or type(error).__name__}") from None
    if not pages:
        raise Refused(f"{UNREADABLE}: it has no pages")
    return pages, properties


def _properties(reader: "pypdf.PdfReader") -> dict[str, str]:
    """Title and language; the name of a file or a program does not count as a title."""
    title = str(reader.metadata.get("/Title", "") if reader.metadata else "")
    language = str(reader.root_object.get("/Lang", ""))
    return {"title": "" if _NO_TITLE.match(title.strip()) else title, "language": language}


def _lines(page: str) -> Iterator[str]:
    for line in page.translate(_LIGATURES).splitlines():
        yield " ".join(_LOST.sub("", line).split())
