"""The words of a Word document: paragraphs, lists, tables and text boxes, in reading order."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from understudy.errors import Refused
from understudy.readers.archive import Archive, local
from understudy.readers.paragraphs import document
from understudy.records import Document, Entry

# Deleted and moved-away text of tracked changes, and the copy of a text box for old programs.
SKIPPED = frozenset(("del", "moveFrom", "Fallback"))
CHARACTERS = {"tab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": " "}


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """The text after all tracked changes; no comments, notes, headers, footers or contents."""
    with Archive(raw) as archive:
        blocks = list(_blocks(archive, _main_part(archive)))
        properties = _properties(archive)
    return document(blocks, entry, f"word {suffix}", properties, guess_title=True)


def _main_part(archive: Archive) -> str:
    """The member with the text; almost always 'word/document.xml', but only the relationships say so."""
    if "_rels/.rels" in archive.names:
        for relationship in archive.xml("_rels/.rels"):
            if relationship.get("Type", "").endswith("/officeDocument"):
                return relationship.get("Target", "").lstrip("/")
    raise Refused("named .docx but is not a Word document: it names no main part")


def _properties(archive: Archive) -> dict[str, str]:
    """Title and language of the document's properties, where it has any."""
    if "docProps/core.xml" not in archive.names:
        return {}
    return {local(node.tag): node.text for node in archive.xml("docProps/core.xml") if node.text and node.text.strip()}


@dataclass
class _Paragraph:
    text: str = ""
    is_contents: bool = False


def _blocks(archive: Archive, part: str) -> Iterator[str]:
    # A text box has paragraphs inside a paragraph: a stack separates their words.
    stack: list[_Paragraph] = []
    skipping = 0
    for event, node in archive.xml_events(part, ("start", "end")):
        tag = local(node.tag)
        if tag in SKIPPED:
            skipping += 1 if event == "start" else -1
        # Drawings have paragraphs and texts of the same names in a namespace of their own.
        if "wordprocessingml" in node.tag:
            if event == "start" and tag == "p":
                stack.append(_Paragraph())
            elif event == "end" and tag == "p":
                paragraph = stack.pop()
                if not paragraph.is_contents:
                    yield paragraph.text.replace("\xad", "").replace("\xa0", " ")
            elif event == "end" and stack and not skipping:
                _take(stack[-1], tag, node)
        if event == "end":
            node.clear()


def _take(paragraph: _Paragraph, tag: str, node: Element) -> None:
    value = next((value for name, value in node.attrib.items() if local(name) == "val"), "")
    if tag == "t":
        paragraph.text += node.text or ""
    elif tag in CHARACTERS and not value:  # with a value, <w:tab> sets a tab stop
        paragraph.text += CHARACTERS[tag]
    elif tag == "pStyle" and value.upper().startswith("TOC"):
        paragraph.is_contents = True
