"""
What happened to each document of a channel, in SQLite, or in PostgreSQL where several machines work on it.

A row is written only when it says something new, so a run with nothing to do leaves the file
as it is. One connection per ledger and process stays open, shared by its threads. The statements are
the same for both databases.
"""

import atexit
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from understudy.errors import AssetError

SCHEMA_VERSION = 1
URL_FILE = "ledger.url"
SCHEMA = """
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
        """True while this document is not to be asked for: refused for good, or until later."""
        if self.status in ("ok", "unanswered", "pending", "removed", "duplicate") or self.revision != revision:
            return False
        return self.next_try is None or datetime.fromisoformat(self.next_try) > now


class Database(Protocol):
    """Where the rows are."""

    def exists(self) -> bool:
        """Whether anything was ever written; reading what does not exist makes nothing."""

    def open(self) -> AbstractContextManager[Any]:
        """Something to `execute` SQL with ('?' for values), committed as a whole. Raises AssetError."""

    def close(self) -> None:
        """Give it free; the next use opens it again."""


class Ledger:
    """The ledger of one channel. Raises AssetError for one of a newer version or none of ours."""

    def __init__(self, file: Path, url: str | None = None) -> None:
        """`url` names a PostgreSQL database, kept in `file`'s folder for those who only know that; None: `file`."""
        self.file = file
        told = file.with_name(URL_FILE)
        if url is None and told.exists():
            url = told.read_text(encoding="utf-8").strip()
        elif url is not None and not (told.exists() and told.read_text(encoding="utf-8").strip() == url):
            told.parent.mkdir(parents=True, exist_ok=True)
            told.write_text(url + "\n", encoding="utf-8")
        self._database: Database = _Sqlite(file) if url is None else _postgres(url, file.parent.name)

    def record(self, row: Row) -> None:
        """Keep `row`; nothing is written when it is already known."""
        marks = ", ".join("?" for _ in (*Row._fields, "changed_at"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known = f"SELECT {', '.join(Row._fields)} FROM documents WHERE document_id = ?"
        with self._database.open() as db:
            if db.execute(known, (row.document_id,)).fetchone() != tuple(row):
                db.execute(f"INSERT INTO documents VALUES ({marks}) {_OR_REPLACE}", (*row, now))

    def forget(self, document_id: str) -> None:
        """Drop the row of one document."""
        with self._database.open() as db:
            db.execute("DELETE FROM documents WHERE document_id = ?", (document_id,))

    def note(self, name: str) -> str | None:
        """What was noted of the channel as a whole under `name`."""
        if not self._database.exists():
            return None
        with self._database.open() as db:
            found = db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def set_note(self, name: str, value: str | None) -> None:
        """Note `value`, or drop the note; nothing is written when it says so already."""
        if self.note(name) == value:
            return
        with self._database.open() as db:
            if value is None:
                db.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                db.execute(
                    "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, value),
                )

    def get(self, document_id: str) -> Row | None:
        """The row of one document."""
        return next(iter(self._select("WHERE document_id = ?", document_id)), None)

    def rows(self) -> list[Row]:
        """Every document, by id."""
        return self._select("ORDER BY document_id")

    def counts(self) -> dict[str, int]:
        """Documents per status."""
        if not self._database.exists():
            return {}
        with self._database.open() as db:
            return dict(db.execute("SELECT status, count(*) FROM documents GROUP BY status ORDER BY status"))

    def reasons(self, status: str, most: int = 5) -> dict[str, int]:
        """Documents per reason among those of `status`, the most frequent first."""
        with self._database.open() as db:
            return dict(
                db.execute(
                    "SELECT reason, count(*) FROM documents WHERE status = ? AND reason IS NOT NULL "
                    "GROUP BY reason ORDER BY count(*) DESC, reason LIMIT ?",
                    (status, most),
                )
            )

    def first_next_try(self, status: str) -> str | None:
        """When the first document of `status` is asked for again."""
        with self._database.open() as db:
            return db.execute("SELECT min(next_try) FROM documents WHERE status = ?", (status,)).fetchone()[0]

    def record_new(self, rows: Iterable[Row]) -> None:
        """Keep rows of documents not known yet, in one go."""
        marks = ", ".join("?" for _ in (*Row._fields, "changed_at"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        values = [(*row, now) for row in rows]
        if values:
            with self._database.open() as db:
                db.executemany(f"INSERT INTO documents VALUES ({marks}) ON CONFLICT DO NOTHING", values)

    def _select(self, where: str, *values: str) -> list[Row]:
        if not self._database.exists():
            return []
        with self._database.open() as db:
            return [Row(*r) for r in db.execute(f"SELECT {', '.join(Row._fields)} FROM documents {where}", values)]

    def close(self) -> None:
        """Give it free: everything is in it, and nothing lies beside a file."""
        self._database.close()


_OR_REPLACE = "ON CONFLICT (document_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in (*Row._fields[1:], "changed_at")
)


def _postgres(url: str, channel: str) -> Database:
    from understudy.channel.ledger_postgres import Postgres

    return Postgres(url, channel)


class _Sqlite:
    """A file, for the processes of one machine."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.file.exists()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The connection, inside one transaction."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _lock, self._connection() as db:
                yield db
        except sqlite3.OperationalError as error:
            raise AssetError(f"{self.file} cannot be used now ({error}): is the disk full or read-only?") from error
        except sqlite3.DatabaseError as error:
            raise AssetError(
                f"{self.file} is not a ledger that can be used ({error}); move it away to start anew"
            ) from error

    def _connection(self) -> sqlite3.Connection:
        """The open connection to the file that is there now: a channel may have been forgotten and begun again."""
        known = _connections.get(self.file)
        if known and self.file.exists() and self.file.stat().st_ino == known[1]:
            return known[0]
        self.close()
        db = sqlite3.connect(self.file, timeout=30, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        _connections[self.file] = (db, self.file.stat().st_ino)
        return db

    def close(self) -> None:
        """Give the file free: everything is in it, and nothing lies beside it."""
        with _lock:
            known = _connections.pop(self.file, None)
            if known:
                known[0].close()

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise AssetError(f"{self.file} was written by a newer Understudy (version {version}); upgrade to use it")
        if version == 0:
            db.execute("PRAGMA journal_mode = WAL")
            with db:
                db.execute("BEGIN IMMEDIATE")
                if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in filter(str.strip, SCHEMA.split(";")):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        # A commit outlives the process at once, and the machine a moment later: a talk whose row is lost with
        # the power is found on disk, and its row written again.
        db.execute("PRAGMA synchronous = NORMAL")


_lock = threading.RLock()
_connections: dict[Path, tuple[sqlite3.Connection, int]] = {}


@atexit.register
def _close_all() -> None:
    with _lock:
        for db, _ in _connections.values():
            db.close()
        _connections.clear()
