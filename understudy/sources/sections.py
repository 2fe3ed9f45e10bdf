"""A source whose files are manuals: every section of one is what a talk is elsewhere, with a ledger row of its own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy import store
from understudy.errors import Refused
from understudy.records import Document, Entry, ManualSection, Paragraph, sha256_of
from understudy.retrieval.sections import Reading, cut
from understudy.text.words import word_count

FILE = "sections.jsonl"
"""In the folder of a channel: every section, as it was cut."""
CONTENTS_LINE = 0.6
"""Of the lines of a section, those that end in a page number: from this share on it is a table of contents."""


class Sections:
    """The sections of the files that a source lists. `key` is the source's, '' for the first."""

    def __init__(self, source: Any, reading: Reading, folder: Path, key: str = "") -> None:
        self._source, self._reading, self._file, self._key = source, reading, folder / FILE, key
        self._known: dict[str, ManualSection] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def problems(self) -> list[str]:
        """Those of the source; and that only what is here already can be cut."""
        if self._source.polite:
            return ["recipe.read: only files are cut into sections; use source: documents, or read: {by: whole}"]
        problems: list[str] = self._source.problems()
        return problems

    def list_talks(self) -> Iterator[tuple[Entry, Refused | None]]:
        """Every section of every file, in order, and why one is refused; a file that cannot be read by itself."""
        stored = load(self._file)
        before: dict[str, list[ManualSection]] = {}
        for section in stored:
            if section.source == self._key:
                before.setdefault(section.place.manual_id, []).append(section)
        found: list[ManualSection] = []
        for entry, refusal in self._source.list_talks():
            sections, why = self._sections(entry, before.get(entry.document_id, []), refusal)
            found += sections
            if why or not sections:
                yield entry, why or Refused("it has headings, and no text under any of them")
            for section in sections:
                yield self._entry(section), self._refusal(section)
        others = [section for section in stored if section.source != self._key]
        if (rows := [*others, *found]) != stored and self._file.parent.exists():  # an estimate leaves nothing behind
            store.replace(self._file, store.encode(FILE, rows)[0])
        self._known = {section.section_id: section for section in found}

    def fetch(self, entry: Entry) -> Document:
        """A section as a document of its own."""
        if entry.document_id not in self._known:
            stored = [section for section in load(self._file) if section.source == self._key]
            self._known = {section.section_id: section for section in stored}
        section = self._known.get(entry.document_id)
        if section is None:
            raise Refused("the manual has no such section any more")
        return Document(
            document_id=section.section_id,
            title=section.title,
            locator=entry.locator,
            how=section.how,
            language=section.language,
            published=section.published,
            paragraphs=[Paragraph(text=text) for text in section.text.split("\n\n") if text.strip()],
            section=section.place,
        )

    def _sections(
        self, entry: Entry, before: list[ManualSection], refusal: Refused | None
    ) -> tuple[list[ManualSection], Refused | None]:
        """The sections of a file, read only where file or settings changed."""
        if refusal is not None:
            return [], refusal
        same = [section for section in before if section.reading == self._reading.digest]
        if same and all(section.revision == entry.revision for section in same):
            return same, None
        try:
            return cut(self._source.fetch(entry), entry.revision, self._reading, same, self._key), None
        except Refused as why:
            return [], why

    def _entry(self, section: ManualSection) -> Entry:
        place = section.place
        content = json.dumps([place.heading, section.text, place.before, place.after])
        return Entry(
            document_id=section.section_id,
            title=section.title,
            locator=f"{place.manual_id}: {' > '.join(place.heading) or section.section_id.rpartition('--')[2]}",
            revision=sha256_of(content.encode(errors="replace")),
            published=section.published,
        )

    def _refusal(self, section: ManualSection) -> Refused | None:
        count = word_count(section.text)
        if count < self._reading.min_words:
            return Refused(f"only {count} words; a section has at least {self._reading.min_words} (recipe.read)")
        if _is_contents(section.text):
            return Refused("it is a table of contents")
        return None


def manuals(folder: Path, key: str = "") -> list[str]:
    """The ids of the manuals of a source that sections of the channel in `folder` are from."""
    sections = (section for section in load(folder / FILE) if section.source == key)
    return list(dict.fromkeys(section.place.manual_id for section in sections))


def texts(folder: Path) -> list[tuple[str, str]]:
    """Manual and text of every section of the channel in `folder`."""
    return [(section.place.manual_id, section.text) for section in load(folder / FILE)]


def load(file: Path) -> list[ManualSection]:
    """The sections in `file`, in order; none where there is no such file."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    return [ManualSection.model_validate_json(line) for line in lines if line.strip()]


def _is_contents(text: str) -> bool:
    """Whether dots or wide gaps lead to numbers everywhere."""
    leaders = re.findall(r"(?:\.{3,}|(?:\. ){3,}|…|\t| {3,})\s*\d+\b", text)
    numbers = re.findall(r"\b\d+\b", text)
    return len(leaders) >= 5 and len(leaders) > CONTENTS_LINE * len(numbers) / 2
