"""
The ledger in PostgreSQL: one schema per channel, for a channel that several machines work on.

Needs psycopg (an extra). The password comes from PGPASSWORD or ~/.pgpass, never from the address,
which is kept beside the channel's files.
"""

import atexit
import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from understudy.channel.ledger import SCHEMA, SCHEMA_VERSION
from understudy.errors import AssetError, ConfigError

CONNECT_SECONDS = 10
_lock = threading.RLock()
_connections: dict[tuple[str, str], Any] = {}


def problem(url: str) -> str | None:
    """Why `url` cannot be the address of a ledger; None when it can. Asks nobody."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        return f"{parts.scheme or url!r} is no database known here; write postgresql://user@host/database"
    if parts.password:
        return "the address holds a password, and it is kept in files; put it into PGPASSWORD or ~/.pgpass"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "PostgreSQL needs one more package: pip install 'psycopg[binary]'"
    return None


class Postgres:
    """One schema of a database. Safe between threads, processes and machines."""

    def __init__(self, url: str, channel: str) -> None:
        if told := problem(url):
            raise ConfigError([told])
        short = channel if len(channel) <= 40 else f"{channel[:40]}_{hashlib.sha256(channel.encode()).hexdigest()[:8]}"
        self.url, self.schema = url, f"understudy_{short.replace('-', '_')}"  # of at most 63 characters

    def exists(self) -> bool:
        """True: the database is somebody else's, and the schema is made on first use."""
        return True

    @contextmanager
    def open(self) -> Iterator["_Statements"]:
        """Something to execute statements with, inside one transaction."""
        import psycopg

        try:
            with _lock:
                db = self._connection()
                with db.transaction():
                    yield _Statements(db)
        except psycopg.Error as error:
            self.close()
            told = " ".join(str(error).split())
            raise AssetError(f"the ledger at {self.url} cannot be used now ({told}); start that database") from error

    def close(self) -> None:
        """Close the connection of this process."""
        with _lock, suppress(Exception):
            if db := _connections.pop((self.url, self.schema), None):
                db.close()

    def _connection(self) -> Any:
        import psycopg

        key = (self.url, self.schema)
        if key not in _connections or _connections[key].closed:
            db = psycopg.connect(self.url, autocommit=True, connect_timeout=CONNECT_SECONDS)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            _connections[key] = db
        return _connections[key]

    def _prepare(self, db: Any) -> None:
        """Make the schema unless it is there; two who begin at once wait for each other."""
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self.schema,))
            db.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')
            db.execute("SELECT set_config('search_path', %s, false)", (self.schema,))
            made = db.execute("SELECT to_regclass('notes')").fetchone()[0] is not None
            if not made:
                # Sorted by bytes and with whole doubles, as in SQLite.
                told = SCHEMA.replace("TEXT PRIMARY KEY", 'TEXT COLLATE "C" PRIMARY KEY')
                for statement in filter(str.strip, told.replace(" REAL", " DOUBLE PRECISION").split(";")):
                    db.execute(statement)
                db.execute("CREATE TABLE version (number INTEGER NOT NULL)")
                db.execute("INSERT INTO version VALUES (%s)", (SCHEMA_VERSION,))
            version = db.execute("SELECT number FROM version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise AssetError(f"{self.url} was written by a newer Understudy (version {version}); upgrade to use it")


class _Statements:
    """What the ledger asks of sqlite3's connection."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """A cursor with the rows."""
        return self._db.execute(sql.replace("?", "%s"), values)

    def executemany(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """The statement, once for each of `values`."""
        with self._db.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), values)


@atexit.register
def _close_all() -> None:
    with _lock:
        for db in _connections.values():
            db.close()
        _connections.clear()
