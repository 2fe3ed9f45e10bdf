"""
Every paid call of a channel and what came back, in SQLite.

A row is committed before its call is sent, and the raw reply before anyone reads it: whatever
kills the process, only the calls on their way can be paid twice. Nothing is written that is
already known, and reading makes no file. One process at a time; any of its threads.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from understudy.calls import Call, Reply, Usage
from understudy.errors import AssetError
from understudy.seams import CLOCK, Clock

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE calls (
    key          TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    document_id  TEXT NOT NULL,
    label        TEXT NOT NULL,
    numbers      TEXT NOT NULL,
    state        TEXT NOT NULL,
    estimate_usd REAL NOT NULL,
    usd          REAL,
    input        INTEGER,
    cached       INTEGER,
    written      INTEGER,
    output       INTEGER,
    reasoning    INTEGER,
    finish       TEXT,
    tier         TEXT,
    request_id   TEXT,
    seconds      REAL,
    usable_items INTEGER,
    asked_items  INTEGER,
    sent_at      TEXT NOT NULL,
    done_at      TEXT,
    reason       TEXT,
    refusal      TEXT,
    text         TEXT,
    PRIMARY KEY (key, attempt)
);
CREATE TABLE answers (key TEXT PRIMARY KEY, document_id TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_FINISHED = "state IN ('ok', 'cut', 'refused')"
_STATES = {"stop": "ok", "length": "cut", "cut": "cut", "refused": "refused"}
_WASTED_SHARE = """CASE WHEN asked_items IS NULL THEN 0.0
    WHEN usable_items >= asked_items AND usable_items > 0 THEN 0.0
    WHEN asked_items <= 0 THEN 1.0
    ELSE 1.0 - 1.0 * usable_items / asked_items END"""
_KEYS_PER_SELECT = 500


class KindTotals(NamedTuple):
    """What the calls of one kind came to.

    `usd` is what is known to be paid; `wasted_usd` the share of it that went into items nobody can
    use; `unknown_usd` the worst case of calls of which nobody can say whether they were paid.
    """

    kind: str
    calls: int
    failed: int
    input: int
    cached: int
    written: int
    output: int
    reasoning: int
    usd: float
    wasted_usd: float
    unknown_usd: float


class CallLedger:
    """The calls file of one channel. Raises AssetError for a file of a newer version or none of ours."""

    def __init__(self, file: Path, clock: Clock = CLOCK) -> None:
        self.file, self._clock = file, clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def intend(self, call: Call, estimate_usd: float) -> int:
        """The number of the attempt that is about to be sent; committed on return."""
        numbers = json.dumps(call.numbers)
        known = (call.key, call.kind, call.document_id, call.label, numbers, estimate_usd, self._now(), call.key)
        return self._write(
            "INSERT INTO calls (key, attempt, kind, document_id, label, numbers, state, estimate_usd, sent_at) "
            "SELECT ?, coalesce(max(attempt), 0) + 1, ?, ?, ?, ?, 'sent', ?, ? FROM calls WHERE key = ? "
            "RETURNING attempt",
            *known,
        )[0][0]

    def keep(self, call: Call, attempt: int, reply: Reply, usd: float | None) -> None:
        """Keep the raw reply. `usd` None means that the server did not say: it counts at its estimate."""
        usage = reply.usage
        tokens = (usage.input, usage.cached, usage.written, usage.output, usage.reasoning) if usage else (None,) * 5
        self._write(
            "UPDATE calls SET state = ?, usd = ?, input = ?, cached = ?, written = ?, output = ?, reasoning = ?, "
            "finish = ?, tier = ?, request_id = ?, seconds = ?, refusal = ?, text = ?, done_at = ? "
            "WHERE key = ? AND attempt = ?",
            *(_STATES[reply.finish], usd, *tokens, reply.finish, reply.tier, reply.request_id, reply.seconds),
            *(_storable(reply.refusal), _storable(reply.text), self._now(), call.key, attempt),
        )

    def failed(self, call: Call, attempt: int, reason: str, paid_usd: float | None) -> None:
        """Note that nothing usable came. `paid_usd` None means that nobody knows: it counts at its estimate."""
        self._write(
            "UPDATE calls SET state = ?, usd = ?, reason = ?, done_at = ? WHERE key = ? AND attempt = ?",
            *("unknown" if paid_usd is None else "failed", paid_usd, _storable(reason), self._now(), call.key, attempt),
        )

    def nothing_sent(self, call: Call, attempt: int) -> None:
        """Drop the row of an attempt the server turned away unread."""
        self._write("DELETE FROM calls WHERE key = ? AND attempt = ?", call.key, attempt)

    def judged(self, call: Call, round: int, usable_items: int, asked_items: int) -> None:
        """Note how much of the `round`-th reply could be used; nothing is written when that is known already."""
        found = self._read(
            f"SELECT attempt, usable_items, asked_items FROM calls WHERE key = ? AND {_FINISHED} "
            "ORDER BY attempt LIMIT 1 OFFSET ?",
            *(call.key, round),
        )
        if found and found[0][1:] != (usable_items, asked_items):
            self._write(
                "UPDATE calls SET usable_items = ?, asked_items = ? WHERE key = ? AND attempt = ?",
                *(usable_items, asked_items, call.key, found[0][0]),
            )

    def reply(self, key: str, round: int) -> Reply | None:
        """The reply that came `round`-th for this key, counted from 0; None when there are not that many."""
        found = self._read(
            "SELECT text, finish, refusal, tier, request_id, seconds, input, cached, written, output, reasoning "
            f"FROM calls WHERE key = ? AND {_FINISHED} ORDER BY attempt LIMIT 1 OFFSET ?",
            *(key, round),
        )
        if not found:
            return None
        text, finish, refusal, tier, request_id, seconds, *tokens = found[0]
        usage = None if tokens[0] is None else Usage(*tokens)
        return Reply(text, finish, refusal, usage, tier, request_id, seconds)

    def answers(self, keys: Iterable[str]) -> dict[str, str]:
        """The finished answers among `keys`."""
        wanted, found = list(keys), {}
        for start in range(0, len(wanted), _KEYS_PER_SELECT):
            part = wanted[start : start + _KEYS_PER_SELECT]
            marks = ", ".join("?" * len(part))
            found.update(self._read(f"SELECT key, text FROM answers WHERE key IN ({marks})", *part))
        return found

    def keep_answers(self, document_id: str, answers: Mapping[str, str]) -> None:
        """Keep finished answers about one talk under their keys, all of them or none."""
        known = self.answers(answers)
        new = {key: text for key, text in answers.items() if known.get(key) != text}
        if new:
            self._write(
                "INSERT OR REPLACE INTO answers SELECT key, ?, value FROM json_each(?)", document_id, json.dumps(new)
            )

    def forget(self, document_ids: Iterable[str]) -> int:
        """Drop all that was asked and said about these talks; what it cost stays in no sum. Returns the calls."""
        ids = json.dumps(list(document_ids))
        if not self.file.exists():
            return 0
        calls = self._write("DELETE FROM calls WHERE document_id IN (SELECT value FROM json_each(?)) RETURNING 1", ids)
        self._write("DELETE FROM answers WHERE document_id IN (SELECT value FROM json_each(?))", ids)
        self._write("VACUUM")
        self._write("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing of them stays on the disk
        return len(calls)

    def note(self, name: str) -> str | None:
        """What was noted under `name`."""
        found = self._read("SELECT value FROM notes WHERE name = ?", name)
        return found[0][0] if found else None

    def set_note(self, name: str, value: str | None) -> None:
        """Note `value`, or drop the note; nothing is written when it says so already."""
        if self.note(name) == value:
            return
        if value is None:
            self._write("DELETE FROM notes WHERE name = ?", name)
        else:
            self._write("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, value)

    def spent(self) -> float:
        """USD paid, plus the worst case of every call of which nobody knows."""
        found = self._read("SELECT total(coalesce(usd, estimate_usd)) FROM calls")
        return found[0][0] if found else 0.0

    def summary(self) -> list[KindTotals]:
        """The totals of each kind of call, by name."""
        rows = self._read(
            "SELECT kind, count(*), count(*) FILTER (WHERE state IN ('failed', 'unknown')), "
            "coalesce(sum(input), 0), coalesce(sum(cached), 0), coalesce(sum(written), 0), "
            "coalesce(sum(output), 0), coalesce(sum(reasoning), 0), total(usd), "
            f"total(usd * {_WASTED_SHARE}), total(estimate_usd) FILTER (WHERE usd IS NULL) "
            "FROM calls GROUP BY kind ORDER BY kind"
        )
        return [KindTotals(*row) for row in rows]

    def rows(self) -> list[dict[str, Any]]:
        """Every call with what came back, column > value, in the order of sending."""
        names = [row[1] for row in self._read("PRAGMA table_info(calls)")]
        rows = [dict(zip(names, row, strict=True)) for row in self._read("SELECT * FROM calls ORDER BY sent_at, rowid")]
        return [row | {"numbers": json.loads(row["numbers"])} for row in rows]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._db:
                self._db.close()
            self._db = None

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds")

    def _read(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._opened(create=False) as db:
            return db.execute(sql, values).fetchall() if db else []

    def _write(self, sql: str, *values: str | int | float | None) -> list[tuple[Any, ...]]:
        """One statement, one commit: the connection commits each by itself."""
        with self._opened(create=True) as db:
            assert db
            return db.execute(sql, values).fetchall()

    @contextmanager
    def _opened(self, create: bool) -> Iterator[sqlite3.Connection | None]:
        with self._lock:
            try:
                if self._db is None and (create or self.file.exists()):
                    self._db = self._open()
                yield self._db
            except sqlite3.OperationalError as error:
                raise AssetError(f"{self.file} cannot be used now ({error}): is the disk full or read-only?") from error
            except sqlite3.DatabaseError as error:
                raise AssetError(
                    f"{self.file} is not a ledger of calls that can be used ({error}); put a copy of it back, "
                    "or move it away to start anew, which pays its calls again"
                ) from error

    def _open(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise AssetError(f"{self.file} was written by a newer Understudy (version {version}); upgrade to use it")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        # Only a killed process leaves these behind: one process at a time uses the file.
        elif db.execute("SELECT 1 FROM calls WHERE state = 'sent' LIMIT 1").fetchone():
            db.execute("UPDATE calls SET state = 'unknown', reason = 'the run ended before the reply' "
                       "WHERE state = 'sent'")  # fmt: skip


def _storable(text: str | None) -> str | None:
    """`text` without lone surrogates, which no UTF-8 file holds: a paid reply must not fail for one of them."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
