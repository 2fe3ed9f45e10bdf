"""
Where ledgers are kept: in a SQLite file, or in a PostgreSQL that several machines share.

Both take the same statements, in SQLite's dialect with '?' for values. Each transaction is committed as a whole, so
that several processes may write to one ledger.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

URL_FILE = "ledger.url"
"""Beside the files of a channel whose ledgers are in PostgreSQL: its address, for commands that read no preset."""
NOW = "(julianday('now') * 86400.0)"
"""The clock of the database in seconds: machines that share one may have clocks that differ."""


Rows = list[tuple[Any, ...]]
Execute = Callable[..., Rows]
"""Executes a statement with its values, and returns the rows."""


class Schema(NamedTuple):
    """What a ledger consists of."""

    version: int
    tables: str
    durable: bool
    """Whether a commit survives a power cut at once, or only a moment later."""
    if_broken: str
    """What to do when the file cannot be read."""


class Database(Protocol):
    """The tables of one ledger. Safe between threads and processes. Raises AssetError when it cannot be used."""

    def rows(self, sql: str, *values: Any) -> Rows:
        """What a SELECT returns; nothing, and no file is created, while nothing was ever written."""

    def transaction(self) -> AbstractContextManager[Execute]:
        """Executes statements that are committed together, one transaction of a ledger after another."""

    def purge(self) -> None:
        """Leave nothing on the disk of what was deleted."""

    def close(self) -> None:
        """Close the connection; the next use opens it again."""


class Notes:
    """A ledger's notes: values under names, in its table `notes`."""

    def __init__(self, file: Path, schema: Schema) -> None:
        self.file = file
        self._database = database(file, schema)

    def note(self, name: str) -> str | None:
        """What was noted under `name`."""
        values = self._database.rows("SELECT value FROM notes WHERE name = ?", name)
        return values[0][0] if values else None

    def set_note(self, name: str, value: str | None) -> None:
        """Note `value`, or drop the note; nothing is written when it says so already."""
        if self.note(name) == value:
            return
        with self._database.transaction() as execute:
            execute("DELETE FROM notes WHERE name = ?", name)
            if value is not None:
                execute("INSERT INTO notes VALUES (?, ?)", name, value)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        self._database.close()


def database(file: Path, schema: Schema) -> Database:
    """The database of the ledger at `file`: PostgreSQL where a note beside the channel names one, else the file."""
    folder = next((folder for folder in file.parents[:2] if (folder / URL_FILE).exists()), None)
    if folder is None:
        from understudy.database.sqlite import Sqlite

        return Sqlite(file, schema)
    from understudy.database.postgres import Postgres

    url = (folder / URL_FILE).read_text(encoding="utf-8").strip()
    return Postgres(url, folder.name, file.relative_to(folder).with_suffix("").parts[0], schema)


def note_url(folder: Path, url: str) -> None:
    """Note in a channel's folder that its ledgers are at `url`."""
    file = folder / URL_FILE
    if not (file.exists() and file.read_text(encoding="utf-8").strip() == url):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as new:
            new.write(url + "\n")
        os.replace(new.name, file)  # in one step: another worker on this machine may be reading it
