"""Questions and answers that are there already, as talks: through the gates, the split and all that follows."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import Refused
from understudy.readers import pair_files
from understudy.readers.pair_files import BETWEEN, PairFile, Row
from understudy.records import Document, Entry, Paragraph, sha256_of
from understudy.text.words import counted, slug

log = logging.getLogger("understudy.source")


class PairsSource:
    """A CSV or JSON file, or a folder of them. Rows that belong to one talk go to one split together."""

    class Options(BaseModel):
        """Options under `source:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        path: Path = Field(description="a .jsonl, .json, .csv or .tsv file, or a folder of them")
        group: str | None = Field(
            default=None, description="the field that says what a row belongs to; None: talk, title, topic and the like"
        )
        rows_per_talk: int = Field(
            default=15, ge=1, le=100, description="rows that are kept together where no field says what they belong to"
        )

    VERSION = 1
    INDIFFERENT = {"path"}
    complete = True
    polite = False
    notice = None

    def __init__(self, options: Options) -> None:
        self.options, self.path = options, options.path
        self.is_known: Callable[[str], bool] = lambda document_id: False
        self._known: dict[Path, PairFile | Refused] = {}

    @staticmethod
    def place(options: Options) -> str:
        """Which file or folder it is."""
        return str(options.path)

    def problems(self) -> list[str]:
        """Problems that make the files unusable."""
        if not self.path.exists():
            return [f"source.path: there is no {str(self.path)!r}"]
        read = [self._read(file) for file in self._files()]
        if any(isinstance(one, PairFile) for one in read):
            return []
        reason = f": {read[0]}" if read else f"; it has no file of {', '.join(pair_files.SUFFIXES)}"
        return [f"source.path: {str(self.path)!r} gives no pair{reason}"]

    def list_talks(self) -> Iterator[tuple[Entry, Refused | None]]:
        """Every group of rows, in the order of the files; a file that gives none with the reason."""
        for file in self._files():
            read = self._read(file)
            if isinstance(read, Refused):
                name = slug(file.name) or "file"
                yield Entry(document_id=name, title=file.name, locator=file.name, revision=self._stamp(file)), read
                continue
            for name, rows in self._groups(file, read.rows):
                content = "\n".join(f"{row.question}\t{row.answer}" for row in rows)
                title = rows[0].group or f"{file.stem} {name.rpartition('-')[2]}"
                revision = sha256_of(content.encode(errors="replace"))
                yield Entry(document_id=name, title=title, locator=f"{file.name}#{name}", revision=revision), None

    def fetch(self, entry: Entry) -> Document:
        """The rows of one group; each is a paragraph. Raises Refused."""
        file = next(file for file in self._files() if file.name == entry.locator.partition("#")[0])
        read = self._read(file)
        if isinstance(read, Refused):
            raise read
        groups = list(self._groups(file, read.rows))
        rows = next(rows for name, rows in groups if name == entry.document_id)
        return Document(
            document_id=entry.document_id,
            title=entry.title,
            locator=entry.locator,
            how=f"pairs {file.suffix.lower()}",
            left_out=read.left_out if entry.document_id == groups[0][0] else {},
            paragraphs=[Paragraph(text=f"{row.question}{BETWEEN}{row.answer}") for row in rows],
        )

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        return sorted(file for file in self.path.glob("*") if file.suffix.lower() in pair_files.SUFFIXES)

    def _read(self, file: Path) -> PairFile | Refused:
        if file not in self._known:
            try:
                read = self._known[file] = pair_files.read(file, self.options.group)
                if read.left_out:
                    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(read.left_out.items()))
                    log.info("%s: %s; left out: %s", file.name, counted(len(read.rows), "pair"), reasons)
            except Refused as refusal:
                self._known[file] = refusal
            except OSError as error:
                self._known[file] = Refused(f"it cannot be read: {error.strerror}")
        return self._known[file]

    def _groups(self, file: Path, rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
        """(document id, its rows): those of one group wherever they stand, the others as they come."""
        stem, named, others = slug(file.stem)[:60] or "pairs", dict[str, list[Row]](), list[Row]()
        for row in rows:
            named.setdefault(row.group, []).append(row) if row.group else others.append(row)
        for group, own in named.items():
            yield f"{stem}-{slug(group)[:40] or 'group'}-{sha256_of(group.encode())[:6]}", own
        size = self.options.rows_per_talk
        for start in range(0, len(others), size):
            yield f"{stem}-{start // size + 1:04}", others[start : start + size]

    @staticmethod
    def _stamp(file: Path) -> str:
        stat = file.stat()
        return f"{stat.st_size} bytes, {stat.st_mtime_ns}"
