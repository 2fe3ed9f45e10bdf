"""A ledger in a file, for the processes of one machine. One connection per file and process, shared by its threads."""

import atexit
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.database import Execute, Rows, Schema
from understudy.errors import AssetError

WAIT_SECONDS = 30


class _Connection:
    """What a process has open of one file. `inode` tells whether that file is still the one in its place."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.db: sqlite3.Connection | None = None
        self.inode = 0

    def close(self) -> None:
        if self.db:
            self.db.close()
        self.db = None


_connections: dict[Path, _Connection] = {}
_registering = threading.Lock()


class Sqlite:
    """The tables of one ledger in a file."""

    def __init__(self, file: Path, schema: Schema) -> None:
        self.file, self.schema = file, schema

    def rows(self, sql: str, *values: Any) -> Rows:
        """What a SELECT returns."""
        if not self.file.exists():
            return []
        with self._used() as db:
            return db.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """Executes statements that are committed together; other processes wait."""
        with self._used() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, *values: db.execute(sql, values).fetchall()
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def purge(self) -> None:
        """Rewrite the file without what was deleted."""
        with self._used() as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file: everything is in it, and no other file is left beside it."""
        with self._connection().lock:
            self._connection().close()

    def _connection(self) -> _Connection:
        with _registering:
            return _connections.setdefault(self.file, _Connection())

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        try:
            with connection.lock:
                yield self._opened(connection)
        except sqlite3.OperationalError as error:
            raise AssetError(f"{self.file} cannot be used now ({error}): is the disk full or read-only?") from error
        except sqlite3.DatabaseError as error:
            raise AssetError(f"{self.file} is not a ledger that can be used ({error}); {self.schema.if_broken}") from (
                error
            )

    def _opened(self, connection: _Connection) -> sqlite3.Connection:
        """The open connection to the file that is there now: a channel may have been deleted and started again."""
        if connection.db and self.file.exists() and self.file.stat().st_ino == connection.inode:
            return connection.db
        connection.close()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.file, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        connection.db, connection.inode = db, self.file.stat().st_ino
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = _version(db)
        if version == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            if (version := _version(db)) == 0:
                for statement in filter(str.strip, self.schema.tables.split(";")):
                    db.execute(statement)
                version = self.schema.version
                db.execute(f"PRAGMA user_version = {version}")
            db.execute("COMMIT")
        if version > self.schema.version:
            raise AssetError(f"{self.file} was written by a newer Understudy (version {version}); upgrade to use it")
        if version < self.schema.version:
            raise AssetError(f"{self.file} was written by an older Understudy (version {version}); move it away")
        db.execute(f"PRAGMA synchronous = {'FULL' if self.schema.durable else 'NORMAL'}")


def close(file: Path) -> None:
    """Close what this process has open of a database, before another file takes its place."""
    if connection := _connections.get(file):
        with connection.lock:
            connection.close()


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@atexit.register
def _close_all() -> None:
    for connection in _connections.values():
        with connection.lock:
            connection.close()
