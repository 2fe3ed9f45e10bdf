"""
What happened to each document of a channel, in SQLite, or in PostgreSQL where several machines work on it.

A row is written only when it says something new, so a run with nothing to do leaves the file as it is.
"""

import copy
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from understudy.channel import home
from understudy.database import Execute, Notes, Schema, note_url

_TABLES = """
CREATE TABLE documents (
    document_id      TEXT PRIMARY KEY,
    title            TEXT NOT NULL,
    locator          TEXT NOT NULL,
    revision         TEXT NOT NULL,
    status           TEXT NOT NULL,
    reason           TEXT,
    attempts         INTEGER NOT NULL,
    next_try         TEXT,
    how              TEXT,
    language         TEXT,
    published        TEXT,
    duration_seconds REAL,
    words            INTEGER,
    sha256           TEXT,
    changed_at       TEXT NOT NULL
);
CREATE INDEX by_status ON documents (status);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# A row that is lost in a power cut is written again, because the talk itself is on disk.
SCHEMA = Schema(1, _TABLES, durable=False, if_broken="move it away, and the next run starts another one")


SOURCE = "source"
"""The note that says whose talks these are."""
ASKED_UNDER = "asked_under"
"""The note with a digest of the settings and the readers under which talks were refused."""


def key_of(revision: str) -> str:
    """The key of the source that a document comes from; '' for the first, or the only one."""
    return revision.partition("@")[2]


class Row(NamedTuple):
    """What the ledger knows of one document.

    `status` is 'ok', or the source's word for why not ('refused', 'private', 'no_captions', 'network'),
    or ours: 'pending', 'duplicate', 'removed', 'excluded', 'unanswered'. `next_try` is a UTC time, None for never.
    """

    document_id: str
    title: str
    locator: str
    revision: str
    status: str
    reason: str | None = None
    attempts: int = 0
    next_try: str | None = None
    how: str | None = None
    language: str | None = None
    published: str | None = None
    duration_seconds: float | None = None
    words: int | None = None
    sha256: str | None = None

    def rests(self, now: datetime, revision: str) -> bool:
        """True while this document is not to be requested: refused for good, or until later."""
        if self.status in ("ok", "unanswered", "pending", "removed", "duplicate") or self.revision != revision:
            return False
        return self.next_try is None or datetime.fromisoformat(self.next_try) > now


class Ledger(Notes):
    """The ledger of one channel. Raises AssetError for a file of a newer version or of another program."""

    def __init__(self, file: Path, url: str | None = None) -> None:
        """`url` names a PostgreSQL database and is noted in `file`'s folder; None: the noted one, else `file`."""
        if url is not None:
            note_url(file.parent, url)
        super().__init__(file, SCHEMA)
        self._key: str | None = None

    def of(self, key: str) -> "Ledger":
        """The same ledger as one of several sources sees it: its own rows and notes. '' is the key of the first."""
        part = copy.copy(self)
        part._key = key
        return part

    def note(self, name: str) -> str | None:
        """What was noted under `name`."""
        return super().note(self._named(name))

    def set_note(self, name: str, value: str | None) -> None:
        """Note `value`, or drop the note; nothing is written when it says so already."""
        super().set_note(self._named(name), value)

    def record(self, row: Row) -> None:
        """Keep `row`; nothing is written when it is already known."""
        marks = ", ".join("?" for _ in (*Row._fields, "changed_at"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known = f"SELECT {', '.join(Row._fields)} FROM documents WHERE document_id = ?"
        with self._writing() as execute:
            if execute(known, row.document_id) != [tuple(row)]:
                execute(f"INSERT INTO documents VALUES ({marks}) {_OR_REPLACE}", *row, now)

    def forget(self, document_id: str) -> None:
        """Drop the row of one document."""
        with self._database.transaction() as execute:
            execute("DELETE FROM documents WHERE document_id = ?", document_id)

    def get(self, document_id: str) -> Row | None:
        """The row of one document."""
        return next(iter(self._select("WHERE document_id = ?", document_id)), None)

    def rows(self) -> list[Row]:
        """Every document, by id."""
        rows = self._select("ORDER BY document_id")
        return rows if self._key is None else [row for row in rows if key_of(row.revision) == self._key]

    def counts(self) -> dict[str, int]:
        """Documents per status."""
        counts = self._database.rows("SELECT status, count(*) FROM documents GROUP BY status ORDER BY status")
        return {status: count for status, count in counts}

    def reasons(self, status: str, most: int = 5) -> dict[str, int]:
        """Documents per reason among those of `status`, the most frequent first."""
        counts = self._database.rows(
            "SELECT reason, count(*) FROM documents WHERE status = ? AND reason IS NOT NULL "
            "GROUP BY reason ORDER BY count(*) DESC, reason LIMIT ?",
            *(status, most),
        )
        return {reason: count for reason, count in counts}

    def reason_count(self, status: str) -> int:
        """How many different reasons the documents of `status` have."""
        rows = self._database.rows("SELECT count(DISTINCT reason) FROM documents WHERE status = ?", status)
        return int(rows[0][0]) if rows else 0

    def first_next_try(self, status: str) -> str | None:
        """When the first document of `status` is requested again."""
        rows = self._database.rows("SELECT min(next_try) FROM documents WHERE status = ?", status)
        return rows[0][0] if rows else None

    def record_new(self, rows: Iterable[Row]) -> None:
        """Keep rows of documents not known yet, in one go."""
        marks = ", ".join("?" for _ in (*Row._fields, "changed_at"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if new := list(rows):
            with self._writing() as execute:
                for row in new:
                    execute(f"INSERT INTO documents VALUES ({marks}) ON CONFLICT DO NOTHING", *row, now)

    def _named(self, name: str) -> str:
        return f"{name}@{self._key}" if self._key else name

    def _writing(self) -> AbstractContextManager[Execute]:
        if not self.file.exists() and self.file.parents[1].name == "data":  # the first talk of a home
            home.mark(self.file.parents[2])
        return self._database.transaction()

    def _select(self, where: str, *values: str) -> list[Row]:
        columns = ", ".join(Row._fields)
        return [Row(*row) for row in self._database.rows(f"SELECT {columns} FROM documents {where}", *values)]


_OR_REPLACE = "ON CONFLICT (document_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in (*Row._fields[1:], "changed_at")
)
