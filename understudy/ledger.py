"""
What happened to each document of a channel, in SQLite.

A row is written only when it says something new, so a run with nothing to do leaves the file
as it is. Connections are short: the ledger may be used from several threads and tasks.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from understudy.errors import AssetError

SCHEMA_VERSION = 1
Status = Literal["ok", "refused", "duplicate", "removed", "unanswered"]

_SCHEMA = """
CREATE TABLE documents (
    document_id TEXT PRIMARY KEY,
    title       TEXT NOT NULL,
    locator     TEXT NOT NULL,
    revision    TEXT NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT,
    words       INTEGER,
    sha256      TEXT,
    changed_at  TEXT NOT NULL
);
"""


class Row(NamedTuple):
    """What the ledger knows of one document."""

    document_id: str
    title: str
    locator: str
    revision: str
    status: Status
    reason: str | None = None
    words: int | None = None
    sha256: str | None = None


class Ledger:
    """The ledger file of one channel. Raises AssetError for a file of a newer version or none of ours."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def record(self, row: Row) -> None:
        """Keep `row`; nothing is written when it is already known."""
        if self.get(row.document_id) == row:
            return
        marks = ", ".join("?" for _ in (*Row._fields, "changed_at"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open() as db:
            db.execute(f"INSERT OR REPLACE INTO documents VALUES ({marks})", (*row, now))

    def get(self, document_id: str) -> Row | None:
        """The row of one document."""
        return next(iter(self._select("WHERE document_id = ?", document_id)), None)

    def rows(self) -> list[Row]:
        """Every document, by id."""
        return self._select("ORDER BY document_id")

    def counts(self) -> dict[str, int]:
        """Documents per status."""
        if not self.file.exists():
            return {}
        with self._open() as db:
            return dict(db.execute("SELECT status, count(*) FROM documents GROUP BY status ORDER BY status"))

    def _select(self, where: str, *values: str) -> list[Row]:
        if not self.file.exists():
            return []
        with self._open() as db:
            return [Row(*r) for r in db.execute(f"SELECT {', '.join(Row._fields)} FROM documents {where}", values)]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = sqlite3.connect(self.file, timeout=30)
            try:
                self._prepare(db)
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.OperationalError as error:
            raise AssetError(f"{self.file} cannot be used now ({error}): is the disk full or read-only?") from error
        except sqlite3.DatabaseError as error:
            raise AssetError(
                f"{self.file} is not a ledger that can be used ({error}); move it away to start anew"
            ) from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise AssetError(f"{self.file} was written by a newer Understudy (version {version}); upgrade to use it")
        db.execute("PRAGMA journal_mode = WAL")
        with db:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                db.execute(_SCHEMA)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
