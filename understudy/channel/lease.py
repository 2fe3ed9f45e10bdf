"""
One process works on a channel at a time: by a lock on one machine, by a lease in PostgreSQL on several.

A holder renews its lease; when it is paused or cut off for too long, another one may take it. So each lease has a
fencing token that is larger than all before, and what only the holder may do happens in `Lease.fenced`, which checks
the token and keeps everybody else from taking the lease meanwhile.
"""

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from understudy import locks
from understudy.database import NOW, URL_FILE, Database, Schema, database
from understudy.errors import AssetError, Busy
from understudy.seams import CLOCK

SECONDS = 60.0
_SCHEMA = Schema(
    1,
    "CREATE TABLE lease (holder TEXT NOT NULL, token INTEGER NOT NULL, expires_at REAL NOT NULL); "
    "INSERT INTO lease VALUES ('', 0, 0)",
    durable=True,
    if_broken="delete it",
)
_held: dict[Path, "Lease"] = {}
log = logging.getLogger("understudy.lease")


class Lease:
    """The right to work on a channel, until it expires."""

    def __init__(self, tables: Database, channel: str) -> None:
        """Take the lease. Raises Busy, naming the holder, while another process has it."""
        self._tables, self._channel, self._released = tables, channel, threading.Event()
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        with tables.transaction() as execute:
            rows = execute(
                f"UPDATE lease SET holder = ?, token = token + 1, expires_at = {NOW} + ? "
                f"WHERE expires_at < {NOW} RETURNING token",
                *(holder, SECONDS),
            )
            if not rows:
                [(other, seconds)] = execute(f"SELECT holder, expires_at - {NOW} FROM lease")
                raise Busy(
                    f"data/{channel} is in use by {other}; wait until that run ends (its lease ends {seconds:.0f} s "
                    "after it is gone), or stop it"
                )
        self.token: int = rows[0][0]

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Nobody else takes the lease inside the block. Raises Busy when somebody has since it was renewed last."""
        with self._tables.transaction() as execute:
            # An UPDATE, because it locks the row until the transaction ends.
            update = "UPDATE lease SET expires_at = expires_at WHERE token = ? RETURNING 1"
            if not execute(update, self.token):
                raise Busy(f"the lease of data/{self._channel} expired, and another machine works on it now")
            yield

    def keep_alive(self, lost: Callable[[], None]) -> None:
        """Renew the lease until it is released; `lost` is called once when another process has it, or may have."""
        deadline = time.monotonic() + SECONDS
        while not self._released.wait(SECONDS / 4):
            try:
                renewed = self._renewed()
            except AssetError as error:
                log.warning("the lease of data/%s could not be renewed now: %s", self._channel, error)
                renewed = time.monotonic() < deadline
            else:
                deadline = time.monotonic() + SECONDS
            if self._released.is_set():
                return None
            if not renewed:
                log.error("the lease of data/%s is lost: another machine may work on it now", self._channel)
                return lost()
        return None

    def release(self) -> None:
        """Let others take the lease at once."""
        self._released.set()
        with self._tables.transaction() as execute:
            execute("UPDATE lease SET expires_at = 0 WHERE token = ?", self.token)

    def _renewed(self) -> bool:
        with self._tables.transaction() as execute:
            # 0 is a lease that was released: a renewal that was on its way then must not take it once more.
            update = f"UPDATE lease SET expires_at = {NOW} + ? WHERE token = ? AND expires_at > 0 RETURNING 1"
            return bool(execute(update, SECONDS, self.token))


@contextmanager
def alone(
    folder: Path, lost: Callable[[], None] = lambda: None, waiting: Callable[[str], None] | None = None
) -> Iterator[Lease | None]:
    """No other process works on the channel in `folder` inside the block. Raises Busy, naming the one that does.

    With `waiting` it waits for the channel as long as it takes, and calls that with who has it. The lease is None
    where the channel's ledger is not in PostgreSQL: then only this machine is looked at.
    """
    with locks.held(folder / ".lock", f"data/{folder.name}", math.inf if waiting else 0.0, waiting):
        if folder in _held or not (folder / URL_FILE).exists():
            yield _held.get(folder)
            return
        lease = _held[folder] = _taken(folder, waiting)
        try:
            threading.Thread(target=lease.keep_alive, args=(lost,), name="lease", daemon=True).start()
            yield lease
        finally:
            del _held[folder]
            with suppress(AssetError):  # the database is gone: the lease expires by itself
                lease.release()


def _taken(folder: Path, waiting: Callable[[str], None] | None) -> Lease:
    tables, message = database(folder / "lease", _SCHEMA), waiting
    while True:
        try:
            return Lease(tables, folder.name)
        except Busy as busy:
            if waiting is None:
                raise
            if message:
                message(f"{busy}; waiting")
            message = None
            CLOCK.sleep(SECONDS / 4)
