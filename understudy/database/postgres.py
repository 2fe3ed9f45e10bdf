"""
A ledger in PostgreSQL: one schema per channel and ledger, for a channel that several machines work on.

Needs psycopg (an extra). The password comes from PGPASSWORD or ~/.pgpass, never from the address, which is kept
beside the channel's files.
"""

import atexit
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from understudy.database import NOW, Execute, Rows, Schema
from understudy.errors import AssetError, ConfigError

CONNECT_SECONDS = 10
_lock = threading.RLock()
_connections: dict[tuple[str, str], Any] = {}


def problem(url: str) -> str | None:
    """Why `url` cannot be the address of a ledger; None when it can. Connects to nothing."""
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
    """The tables of one ledger of a channel in a schema of their own."""

    def __init__(self, url: str, channel: str, ledger: str, schema: Schema) -> None:
        if reason := problem(url):
            raise ConfigError([reason])
        short = channel if len(channel) <= 40 else f"{channel[:31]}_{hashlib.sha256(channel.encode()).hexdigest()[:8]}"
        name = f"understudy_{short.replace('-', '_')}"  # with the ledger's name at most 63 characters
        # No channel has a '$' in its name, so that the calls of 'tea' are not the talks of 'tea-calls'.
        self.name = name if ledger == "ledger" else f"{name}${ledger}"
        self.url, self.schema = url, schema

    def rows(self, sql: str, *values: Any) -> Rows:
        """What a SELECT returns."""
        with self.transaction() as execute:
            return execute(sql, *values)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """Executes statements that are committed together.

        When the connection breaks before the commit, as after a sleep of this machine or a restart of the database,
        another one is opened and the statements so far are executed once more. Where they then give other rows than
        before, or the connection breaks in the commit, nobody knows what counts: AssetError.
        """
        import psycopg

        try:
            with _lock, _Attempt(self) as attempt:
                yield attempt.execute
        except psycopg.Error as error:
            self.close()
            message = " ".join(str(error).split())
            raise AssetError(f"the ledger at {self.url} cannot be used now ({message}); start that database") from error

    def purge(self) -> None:
        """Rewrite the tables without what was deleted."""
        with _lock:
            db = self.connection()
            for (table,) in self.rows(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", self.name
            ):
                db.execute(f'VACUUM FULL "{self.name}"."{table}"')

    def close(self) -> None:
        """Close the connection of this process."""
        with _lock, suppress(Exception):
            if db := _connections.pop((self.url, self.name), None):
                db.close()

    def connection(self) -> Any:
        """The connection of this process to the schema of this ledger."""
        import psycopg

        key = (self.url, self.name)
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
        """Create the schema unless it is there; two processes that start at once wait for each other."""
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self.name,))
            db.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.name}"')
            db.execute("SELECT set_config('search_path', %s, false)", (f'"{self.name}"',))
            if db.execute("SELECT to_regclass('version')").fetchone()[0] is None:
                # Sorted by bytes and with whole doubles, as in SQLite.
                tables = self.schema.tables.replace("TEXT PRIMARY KEY", 'TEXT COLLATE "C" PRIMARY KEY')
                for statement in filter(str.strip, tables.replace(" REAL", " DOUBLE PRECISION").split(";")):
                    db.execute(statement)
                db.execute("CREATE TABLE version (number INTEGER NOT NULL)")
                db.execute("INSERT INTO version VALUES (%s)", (self.schema.version,))
            version = db.execute("SELECT number FROM version").fetchone()[0]
        if version > self.schema.version:
            raise AssetError(f"{self.url} was written by a newer Understudy (version {version}); upgrade to use it")


class _Attempt:
    """One transaction that survives the end of its connection once."""

    def __init__(self, tables: Postgres) -> None:
        self._tables, self._stack, self._done = tables, ExitStack(), list[tuple[str, tuple[Any, ...], Rows]]()
        self._may_reopen = True

    def __enter__(self) -> "_Attempt":
        import psycopg

        self._db = self._tables.connection()
        # Inside another transaction it is that one which begins again, or fails.
        self._may_reopen = self._db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        try:
            self._stack.enter_context(self._db.transaction())
        except psycopg.OperationalError as error:
            self._reopen(error)
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def execute(self, sql: str, *values: Any) -> Rows:
        """The rows of one statement."""
        import psycopg

        try:
            rows = _execute(self._db, sql, *values)
        except psycopg.OperationalError as error:
            if not self._db.closed:
                raise
            self._reopen(error)
            rows = _execute(self._db, sql, *values)
        self._done.append((sql, values, rows))
        return rows

    def _reopen(self, error: Exception) -> None:
        if not self._may_reopen:
            raise error
        self._may_reopen = False
        self._db = self._connected_again()
        self._stack.enter_context(self._db.transaction())
        for sql, values, rows in self._done:
            if _execute(self._db, sql, *values) != rows:
                raise AssetError(f"the connection to {self._tables.url} broke, and another process wrote meanwhile")

    def _connected_again(self) -> Any:
        """Another connection, for which a database that starts again has some seconds."""
        import psycopg

        end = time.monotonic() + CONNECT_SECONDS
        while True:
            self._tables.close()
            try:
                return self._tables.connection()
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)


def _execute(db: Any, sql: str, *values: Any) -> Rows:
    """The rows of SQLite's statement in PostgreSQL, which stores no NUL characters."""
    storable = [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values]
    in_seconds = "extract(epoch FROM clock_timestamp())::float8"
    cursor = db.execute(sql.replace(NOW, in_seconds).replace("?", "%s"), storable)
    return cursor.fetchall() if cursor.description else []


@atexit.register
def _close_all() -> None:
    with _lock:
        for db in _connections.values():
            db.close()
        _connections.clear()
