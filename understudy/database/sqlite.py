"""A ledger in a file, for the processes of one machine. One connection per file and process, shared by its threads."""

import atexit
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.database import Execute, Rows, Schema
from understudy.errors import AssetError

WAIT_SECONDS = 30


_locks: defaultdict[Path, threading.RLock] = defaultdict(threading.RLock)
"""One a file: a durable commit to the ledger of calls keeps nobody from the ledger of talks."""
_connections: dict[Path, tuple[sqlite3.Connection, int]] = {}
"""With the inode of the file, which tells whether it is still the one in its place."""


def close(file: Path) -> None:
    """Close what this process has open of a database: all is in the file then, and no other one lies beside it."""
    with _locks[file]:
        if connection := _connections.pop(file, None):
            connection[0].close()


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
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def purge(self) -> None:
        """Rewrite the file without what was deleted."""
        with self._used() as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        close(self.file)

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        try:
            with _locks[self.file]:
                yield self._opened()
        except sqlite3.OperationalError as error:
            raise AssetError(f"{self.file} cannot be used now ({error}): is the disk full or read-only?") from error
        except sqlite3.DatabaseError as error:
            reason = f"{self.file} is not a ledger that can be used ({error})"
            raise AssetError(f"{reason}; {self.schema.if_broken}") from error

    def _opened(self) -> sqlite3.Connection:
        """The open connection to the file that is there now: a channel may have been deleted and started again."""
        known = _connections.get(self.file)
        if known and self.file.exists() and self.file.stat().st_ino == known[1]:
            return known[0]
        close(self.file)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.file, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        _connections[self.file] = (db, self.file.stat().st_ino)
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


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@atexit.register
def _close_all() -> None:
    for file in list(_connections):
        close(file)
