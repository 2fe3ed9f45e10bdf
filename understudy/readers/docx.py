"""The words of a Word document: paragraphs, lists, tables and text boxes, in reading order."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from understudy.errors import Refused
from understudy.readers import html
from understudy.readers.archive import Archive, local
from understudy.readers.decoding import decode
from understudy.readers.formulas import latex, raised
from understudy.readers.paragraphs import Title, document
from understudy.records import Document, Entry

# Deleted and moved-away text of tracked changes, and the copy of a text box for old programs.
SKIPPED = frozenset(("del", "moveFrom", "Fallback"))
CHARACTERS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": " "}
NUMBERED_IN_A_ROW = 3

# Word translates the ids of its own styles; their names in styles.xml it does not.
_CONTENTS_STYLE = re.compile(
    r"(?:toc|verzeichnis|inhaltsverzeichnis|tm|tdm|tdc|tabladecontenido|sommario|sumrio|inhopg|innehll|innehåll|indholdsf"
    r"|indholdsfortegnelse|inng|innhold|sisluet|sisllysluettelo|spistreci|spistreści|obsah|tj|tartalom|cuprins|kazalo"
    r"|sadraj|içindekiler)(?:\s*(?:heading|\d))?",
    re.IGNORECASE,
)
_CONTENTS_NAME = re.compile(r"toc (?:\d|heading)", re.IGNORECASE)
_HEADING_NAME = re.compile(r"heading (\d)", re.IGNORECASE)
_CONTENTS_FIELD = re.compile(r"\s*\\?(?:TOC|PAGEREF)\b")
_NUMBERED_LINE = re.compile(r"[^\n]*(?:\t|\.{3,}|…)\s*\d{1,4}\s*")


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """The text after all tracked changes; no comments, notes, headers, footers or contents."""
    with Archive(raw) as archive:
        blocks = _read(archive)
        properties = _properties(archive)
    return document(blocks, entry, f"word {suffix}", properties, guess_title=True)


def _read(archive: Archive, embedded: bool = False) -> list[str]:
    part = _main_part(archive)
    chunks = {} if embedded else _chunks(archive, part)
    names = _style_names(archive, part)
    contents = frozenset(style for style, name in names.items() if _CONTENTS_NAME.match(name))
    levels = {style: int(match[1]) for style, name in names.items() if (match := _HEADING_NAME.fullmatch(name))}
    return list(_without_numbered_lines(_Body(contents, chunks, levels).blocks(archive, part)))


def _main_part(archive: Archive) -> str:
    """The member with the text; almost always 'word/document.xml', but only the relationships say so."""
    if "_rels/.rels" in archive.names:
        for relationship in archive.xml("_rels/.rels"):
            if relationship.get("Type", "").endswith("/officeDocument"):
                return relationship.get("Target", "").lstrip("/")
    raise Refused("named .docx but is not a Word document: it names no main part")


def _related(archive: Archive, part: str, kind: str) -> Iterator[tuple[str, str]]:
    """(id, member) of the parts of a kind that `part` refers to."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels".lstrip("/")
    for relationship in archive.xml(relations) if relations in archive.names else ():
        target = posixpath.normpath(posixpath.join("/" + folder, relationship.get("Target", ""))).lstrip("/")
        if relationship.get("Type", "").endswith(kind) and target in archive.names:
            yield relationship.get("Id", ""), target


def _chunks(archive: Archive, part: str) -> dict[str, list[str]]:
    """The blocks of documents that were put in whole and that Word would merge when it saves."""
    chunks = {}
    for name, member in _related(archive, part, "/aFChunk"):
        raw = archive.read(member)
        if raw.startswith(b"PK"):
            with Archive(raw) as inside:
                chunks[name] = _read(inside, embedded=True)
        elif b"<" in raw[:2000]:
            chunks[name] = html.parse(decode(raw, declared=True)).blocks
        else:
            chunks[name] = re.split(r"\n\s*\n", decode(raw).replace("\r\n", "\n"))
    return chunks


def _style_names(archive: Archive, part: str) -> dict[str, str]:
    """The ids of the styles > the names that no translation changes."""
    member = next((member for _, member in _related(archive, part, "/styles")), "word/styles.xml")
    if member not in archive.names:
        return {}
    return {
        next((value for key, value in node.attrib.items() if local(key) == "styleId"), ""): next(
            (_value(child) for child in node if local(child.tag) == "name"), ""
        )
        for node in archive.xml(member).iter()
        if local(node.tag) == "style"
    }


def _properties(archive: Archive) -> dict[str, str]:
    """Title and language of the document's properties, where it has any."""
    if "docProps/core.xml" not in archive.names:
        return {}
    return {local(node.tag): node.text for node in archive.xml("docProps/core.xml") if node.text and node.text.strip()}


def _value(node: Element) -> str:
    return next((value for name, value in node.attrib.items() if local(name) == "val"), "")


def _is_on(node: Element) -> bool:
    return _value(node) not in ("0", "false", "off", "none")


def _without_numbered_lines(blocks: Iterator[str]) -> Iterator[str]:
    """Without lines in a row that end in growing page numbers: a table of contents that was typed."""
    row: list[str] = []
    for block in [*filter(str.strip, blocks), ""]:
        if _NUMBERED_LINE.fullmatch(block):
            row.append(block)
            continue
        numbers = [int(re.findall(r"\d+", line)[-1]) for line in row]
        if len(row) < NUMBERED_IN_A_ROW or numbers != sorted(numbers):
            yield from row
        row = []
        yield block


@dataclass
class _Paragraph:
    text: str = ""
    is_contents: bool = False
    level: int | None = None


@dataclass
class _Run:
    """How the words of a run are set."""

    hidden: bool = False
    is_raised: bool = False


@dataclass
class _Body:
    """The blocks of the main part, tag by tag: a hostile file may nest as deep as it likes."""

    contents: frozenset[str]
    chunks: dict[str, list[str]]
    levels: dict[str, int] = field(default_factory=dict)
    # A text box has paragraphs inside a paragraph: a stack separates their words.
    paragraphs: list[_Paragraph] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    run: _Run = field(default_factory=_Run)
    skipping: int = 0
    equations: int = 0
    contents_blocks: list[bool] = field(default_factory=list)

    def blocks(self, archive: Archive, part: str) -> Iterator[str]:
        """Every paragraph with words."""
        for event, node in archive.xml_events(part, ("start", "end")):
            tag = local(node.tag)
            if tag in SKIPPED:
                self.skipping += 1 if event == "start" else -1
            # Drawings have paragraphs and texts of the same names in a namespace of their own.
            if "wordprocessingml" in node.tag:
                yield from self._begin(tag) if event == "start" else self._end(tag, node)
            elif "officeDocument" in node.tag and tag == "oMath":
                self._equation(event, node)
            if event == "end" and not self.equations:
                node.clear()

    def _begin(self, tag: str) -> Iterator[str]:
        if tag == "p":
            self.paragraphs.append(_Paragraph(is_contents=self._in_contents()))
        elif tag == "r":
            self.run = _Run()
        elif tag == "sdt":
            self.contents_blocks.append(False)
        yield from ()

    def _end(self, tag: str, node: Element) -> Iterator[str]:
        if tag == "p":
            paragraph = self.paragraphs.pop()
            if not paragraph.is_contents:
                text = paragraph.text.replace("\xad", "").replace("\xa0", " ")
                yield Title(text, paragraph.level) if paragraph.level else text
        elif tag == "altChunk":
            yield from self.chunks.get(next((v for k, v in node.attrib.items() if local(k) == "id"), ""), [])
        elif tag == "sdt":
            self.contents_blocks.pop()
        elif tag == "docPartGallery" and self.contents_blocks:
            self.contents_blocks[-1] = "table of contents" in _value(node).lower()
        elif self.paragraphs and not self.skipping:
            self._take(self.paragraphs[-1], tag, node)

    def _in_contents(self) -> bool:
        return any(self.contents_blocks) or any(map(_CONTENTS_FIELD.match, self.fields))

    def _take(self, paragraph: _Paragraph, tag: str, node: Element) -> None:
        value = _value(node)
        if tag in ("vanish", "specVanish"):
            self.run.hidden = _is_on(node)
        elif tag == "vertAlign":
            self.run.is_raised = value == "superscript"
        elif tag == "fldChar":
            self._field(paragraph, node)
        elif tag == "instrText" and self.fields:
            self.fields[-1] += node.text or ""
        elif tag == "pStyle":
            is_style = value in self.contents or (not self.contents and _CONTENTS_STYLE.fullmatch(value))
            paragraph.is_contents = paragraph.is_contents or bool(is_style)
            paragraph.level = self.levels.get(value)
        elif tag == "t" and not self.run.hidden:
            text = node.text or ""
            paragraph.text += raised(paragraph.text, text) if self.run.is_raised else text
        elif tag in CHARACTERS and not value and not self.run.hidden:  # with a value, <w:tab> sets a tab stop
            paragraph.text += CHARACTERS[tag]

    def _field(self, paragraph: _Paragraph, node: Element) -> None:
        """A field begins, shows its result, or ends; that of a table of contents spans paragraphs."""
        kind = next((value for name, value in node.attrib.items() if local(name) == "fldCharType"), "")
        if kind == "begin":
            self.fields.append("")
        elif kind == "separate":
            paragraph.is_contents = paragraph.is_contents or self._in_contents()
        elif kind == "end" and self.fields:
            self.fields.pop()

    def _equation(self, event: str, node: Any) -> None:
        self.equations += 1 if event == "start" else -1
        if event == "end" and not self.equations and self.paragraphs and not self.skipping:
            self.paragraphs[-1].text += latex(node)
