"""
Every paid call of a channel and what came back, in SQLite, or in PostgreSQL where the channel's ledger is there.

A row is committed before its call is sent, and the raw reply before it is parsed: whatever kills the process, only
the calls on their way can be paid twice. The row of a call on its way is also the reservation of its worst case, made
in the same transaction, so that several processes together stay within one budget. Nothing is written that is already
known, and reading makes no file.
"""

import json
import math
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from understudy.calls import Call, Reply, Usage
from understudy.calls.budget import ROUNDING_USD, Limit, used_up
from understudy.database import NOW, Execute, Notes, Schema
from understudy.errors import TeacherStopped
from understudy.seams import CLOCK, Clock

LEASE_SECONDS = 900
"""How long a call may be on its way before its process is taken for dead."""
_TABLES = """
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
    holder       TEXT NOT NULL,
    lease_until  REAL NOT NULL,
    sent_at      TEXT NOT NULL,
    done_at      TEXT,
    reason       TEXT,
    refusal      TEXT,
    text         TEXT,
    PRIMARY KEY (key, attempt)
);
CREATE INDEX in_flight ON calls (holder) WHERE state = 'sent';
CREATE TABLE budget (spent REAL NOT NULL, reserved REAL NOT NULL);
INSERT INTO budget VALUES (0, 0);
CREATE TABLE answers (key TEXT PRIMARY KEY, document_id TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_SCHEMA = Schema(
    2, _TABLES, durable=True, if_broken="put a copy of it back, or move it away, which pays its calls again"
)
_FINISHED = "state IN ('ok', 'cut', 'refused')"
_STATES = {"stop": "ok", "length": "cut", "cut": "cut", "refused": "refused"}
_WASTED_SHARE = """CASE WHEN asked_items IS NULL THEN 0.0
    WHEN usable_items >= asked_items AND usable_items > 0 THEN 0.0
    WHEN asked_items <= 0 THEN 1.0
    ELSE 1.0 - 1.0 * usable_items / asked_items END"""
_KEYS_PER_SELECT = 500
ENOUGH_REPLIES = 3  # from which their length says more than what is usual


class KindTotals(NamedTuple):
    """What the calls of one kind came to.

    `usd` is what is known to be paid; `wasted_usd` the share of it that went into unusable items; `unknown_usd` the
    worst case of calls that may or may not have been paid.
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


class Usual(NamedTuple):
    """What replies came to so far."""

    tokens: Mapping[str, float] = MappingProxyType({})
    """Of output for each item that was asked for, thinking included, by kind of call."""
    questions: float = 1.0
    """Share of the questions asked for that came."""
    expected: Mapping[str, float] = MappingProxyType({})
    """Of output for each item, by kind of call, before any came: what a recipe asks for."""

    def each(self, kind: str, otherwise: float) -> float:
        """Tokens of one item of such a reply."""
        return self.tokens.get(kind, self.expected.get(kind, otherwise))


class CallLedger(Notes):
    """The calls of one model of a channel: teacher, verifier or judge.

    Raises AssetError for a file of another version or another program.
    """

    def __init__(self, file: Path, clock: Clock = CLOCK) -> None:
        super().__init__(file, _SCHEMA)
        self._clock = clock
        self._option, self._others = "teacher.max_usd", list[CallLedger]()
        self._together_usd: float | None = None

    def share_budget(self, option: str, together_usd: float | None, others: Iterable["CallLedger"]) -> None:
        """Name the option of this ledger's own limit, and limit its calls and those of `others` together."""
        self._option, self._together_usd, self._others = option, together_usd, list(others)

    def limit(self, max_usd: float | None) -> Limit | None:
        """The tighter of this ledger's own limit and what others leave of the one for all; None: no limit."""
        limits = [] if max_usd is None else [Limit(max_usd, self._option)]
        if self._together_usd is not None:
            elsewhere = sum(other.spent() for other in self._others)
            limits.append(Limit(self._together_usd - elsewhere, "max_usd", elsewhere))
        return min(limits, default=None)

    def intend(self, call: Call, worst_usd: float) -> int:
        """The number of an attempt that no budget limits; committed on return."""
        attempt = self.reserve(call, worst_usd, None)
        assert attempt is not None, "without a limit nothing is refused"
        return attempt

    def reserve(self, call: Call, worst_usd: float, max_usd: float | None) -> int | None:
        """The number of the attempt that is about to be sent, its worst case reserved; both committed on return.

        None when the budget may cover it once calls on their way are settled. Raises TeacherStopped when it would
        not even if those cost nothing.
        """
        most = self.limit(max_usd)
        limit = most.usd + ROUNDING_USD if most else math.inf
        with self._database.transaction() as execute:
            if not self._reserved(execute, worst_usd, limit):
                self._abandon_dead(execute)
                if not self._reserved(execute, worst_usd, limit):
                    spent = execute("SELECT spent FROM budget")[0][0]
                    if most and spent + worst_usd > limit:
                        raise TeacherStopped(used_up(most, spent, worst_usd))
                    return None
            attempt: int = execute("SELECT coalesce(max(attempt), 0) + 1 FROM calls WHERE key = ?", call.key)[0][0]
            execute(
                "INSERT INTO calls (key, attempt, kind, document_id, label, numbers, state, estimate_usd, holder, "
                f"lease_until, sent_at) VALUES (?, ?, ?, ?, ?, ?, 'sent', ?, ?, {NOW} + ?, ?)",
                *(call.key, attempt, call.kind, call.document_id, call.label, json.dumps(call.numbers)),
                *(worst_usd, _holder(), LEASE_SECONDS, self._now()),
            )
            return attempt

    def keep(self, call: Call, attempt: int, reply: Reply, usd: float | None) -> None:
        """Keep the raw reply. `usd` None means that the server did not say: it counts at its worst case."""
        columns: dict[str, Any] = {"state": _STATES[reply.finish], "finish": reply.finish, "tier": reply.tier}
        columns |= {name: getattr(reply.usage, name, None) for name in Usage.__dataclass_fields__}
        columns |= {"request_id": reply.request_id, "seconds": reply.seconds}
        self._settle(call, attempt, usd, **columns, refusal=_storable(reply.refusal), text=_storable(reply.text))

    def failed(self, call: Call, attempt: int, reason: str, paid_usd: float | None) -> None:
        """Note that nothing usable came. `paid_usd` None means that it is unknown: it counts at its worst case."""
        state = "unknown" if paid_usd is None else "failed"
        self._settle(call, attempt, paid_usd, state=state, reason=_storable(reason))

    def nothing_sent(self, call: Call, attempt: int) -> None:
        """Drop the row of an attempt the server turned away unread."""
        self._settle(call, attempt, 0.0, state="failed")
        with self._database.transaction() as execute:
            execute("DELETE FROM calls WHERE key = ? AND attempt = ?", call.key, attempt)

    def interrupted(self, call: Call, attempt: int) -> None:
        """Count an attempt at its worst case unless its outcome is noted."""
        with self._database.transaction() as execute:
            self._abandon(execute, "key = ? AND attempt = ?", call.key, attempt)

    def settle_abandoned(self) -> None:
        """Count calls whose process is gone, or whose lease has expired, at their worst case."""
        with self._database.transaction() as execute:
            self._abandon_dead(execute)

    def judged(self, call: Call, round: int, usable_items: int, asked_items: int) -> None:
        """Note how much of the `round`-th reply could be used; nothing is written when that is known already."""
        rows = self._database.rows(
            f"SELECT attempt, usable_items, asked_items FROM calls WHERE key = ? AND {_FINISHED} "
            "ORDER BY attempt LIMIT 1 OFFSET ?",
            *(call.key, round),
        )
        if rows and rows[0][1:] != (usable_items, asked_items):
            with self._database.transaction() as execute:
                execute(
                    "UPDATE calls SET usable_items = ?, asked_items = ? WHERE key = ? AND attempt = ?",
                    *(usable_items, asked_items, call.key, rows[0][0]),
                )

    def reply(self, key: str, round: int) -> Reply | None:
        """The reply that came `round`-th for this key, counted from 0; None when there are not that many."""
        rows = self._database.rows(
            "SELECT text, finish, refusal, tier, request_id, seconds, input, cached, written, output, reasoning "
            f"FROM calls WHERE key = ? AND {_FINISHED} ORDER BY attempt LIMIT 1 OFFSET ?",
            *(key, round),
        )
        if not rows:
            return None
        text, finish, refusal, tier, request_id, seconds, *tokens = rows[0]
        usage = None if tokens[0] is None else Usage(*tokens)
        return Reply(text, finish, refusal, usage, tier, request_id, seconds)

    def answers(self, keys: Iterable[str]) -> dict[str, str]:
        """The finished answers among `keys`."""
        wanted, finished = list(keys), dict[str, str]()
        for start in range(0, len(wanted), _KEYS_PER_SELECT):
            part = wanted[start : start + _KEYS_PER_SELECT]
            marks = ", ".join("?" * len(part))
            finished.update(self._database.rows(f"SELECT key, text FROM answers WHERE key IN ({marks})", *part))
        return finished

    def keep_answers(self, document_id: str, answers: Mapping[str, str]) -> None:
        """Keep finished answers about one talk under their keys, all of them or none."""
        known = self.answers(answers)
        new = {key: text for key, text in answers.items() if known.get(key) != text}
        if new:
            with self._database.transaction() as execute:
                for key, text in new.items():
                    execute("DELETE FROM answers WHERE key = ?", key)
                    execute("INSERT INTO answers VALUES (?, ?, ?)", key, document_id, text)

    def drop_answers(self, document_ids: Iterable[str]) -> None:
        """Drop the finished answers about these talks, so that they are asked for again; their price stays counted."""
        if self._database.rows("SELECT 1 FROM budget"):
            with self._database.transaction() as execute:
                for document_id in document_ids:
                    execute("DELETE FROM answers WHERE document_id = ?", document_id)

    def forget(self, document_ids: Iterable[str]) -> int:
        """Drop every call and answer about these talks; what they cost stays in no sum. Returns the calls."""
        calls = 0
        if not self._database.rows("SELECT 1 FROM budget"):
            return 0
        with self._database.transaction() as execute:
            for document_id in document_ids:
                # A call about several talks names them all.
                name = document_id.replace("!", "!!").replace("_", "!_").replace("%", "!%")
                with_others = [f"{name}+%", f"%+{name}", f"%+{name}+%"]
                where = "document_id = ?" + " OR document_id LIKE ? ESCAPE '!'" * len(with_others)
                calls += len(execute(f"DELETE FROM calls WHERE {where} RETURNING 1", document_id, *with_others))
                execute(f"DELETE FROM answers WHERE {where}", document_id, *with_others)
            total = "(SELECT coalesce(sum(coalesce(usd, estimate_usd)), 0) FROM calls WHERE state {} 'sent')"
            execute(f"UPDATE budget SET spent = {total.format('<>')}, reserved = {total.format('=')}")
        self._database.purge()
        return calls

    def spent(self) -> float:
        """USD paid, plus the worst case of every call whose outcome is not known."""
        rows = self._database.rows("SELECT spent + reserved FROM budget")
        return float(rows[0][0]) if rows else 0.0

    def summary(self) -> list[KindTotals]:
        """The totals of each kind of call, by name."""
        rows = self._database.rows(
            "SELECT kind, count(*), count(*) FILTER (WHERE state IN ('failed', 'unknown')), "
            "coalesce(sum(input), 0), coalesce(sum(cached), 0), coalesce(sum(written), 0), "
            "coalesce(sum(output), 0), coalesce(sum(reasoning), 0), coalesce(sum(usd), 0.0), "
            f"coalesce(sum(usd * {_WASTED_SHARE}), 0.0), "
            "coalesce(sum(estimate_usd) FILTER (WHERE usd IS NULL), 0.0) "
            "FROM calls GROUP BY kind ORDER BY kind"
        )
        return [KindTotals(*row) for row in rows]

    def usual(self, label: str) -> "Usual":
        """What the replies of one model came to so far; of kinds of call to which enough came."""
        items = "sum(max(1, coalesce(asked_items, json_array_length(numbers))))"
        where = f"FROM calls WHERE {_FINISHED} AND output > 0 AND label = ? GROUP BY kind HAVING count(*) >= ?"
        rows = self._database.rows(
            f"SELECT kind, 1.0 * sum(output) / {items}, 1.0 * sum(usable_items) / {items} {where}",
            *(label, ENOUGH_REPLIES),
        )
        came = {kind: share for kind, _, share in rows}
        return Usual({kind: tokens for kind, tokens, _ in rows}, min(1.0, came.get("questions") or 1.0))

    def rows(self) -> list[dict[str, Any]]:
        """Every call with what came back, column > value, in the order of sending."""
        rows = self._database.rows(f"SELECT {', '.join(_COLUMNS)} FROM calls ORDER BY sent_at")
        calls = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        return [call | {"numbers": json.loads(call["numbers"])} for call in calls]

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="microseconds")

    def _reserved(self, execute: Execute, worst_usd: float, limit: float) -> bool:
        """Whether the budget covers the worst case, which is reserved then."""
        update = "UPDATE budget SET reserved = reserved + ? WHERE spent + reserved + ? <= ? RETURNING 1"
        return bool(execute(update, worst_usd, worst_usd, limit))

    def _settle(self, call: Call, attempt: int, usd: float | None, **columns: Any) -> None:
        """Turn a reservation, or what an abandoned call was counted at, into its price; None: its worst case."""
        columns |= {"usd": usd, "done_at": self._now()}
        changes = ", ".join(f"{name} = ?" for name in columns)
        with self._database.transaction() as execute:
            # An UPDATE, because it locks the row: another process may be about to abandon the call.
            lock = "UPDATE calls SET reason = reason WHERE key = ? AND attempt = ? RETURNING state, estimate_usd, usd"
            [(state, worst_usd, counted)] = execute(lock, call.key, attempt)
            values = (*columns.values(), call.key, attempt)
            execute(f"UPDATE calls SET {changes} WHERE key = ? AND attempt = ?", *values)
            counted = worst_usd if counted is None else counted
            reserved, spent = (worst_usd, 0.0) if state == "sent" else (0.0, counted)
            price = worst_usd if usd is None else usd
            execute("UPDATE budget SET reserved = reserved - ?, spent = spent + ?", reserved, price - spent)

    def _abandon_dead(self, execute: Execute) -> None:
        holders = execute("SELECT DISTINCT holder FROM calls WHERE state = 'sent'")
        gone = [holder for (holder,) in holders if _is_gone(holder)]
        marks = ", ".join("?" * len(gone)) or "''"
        self._abandon(execute, f"(lease_until < {NOW} OR holder IN ({marks}))", *gone)

    def _abandon(self, execute: Execute, where: str, *values: str | int) -> None:
        worst = execute(
            "UPDATE calls SET state = 'unknown', reason = 'the run ended before the reply' "
            f"WHERE state = 'sent' AND {where} RETURNING estimate_usd",
            *values,
        )
        usd = sum(row[0] for row in worst)
        if worst:
            execute("UPDATE budget SET reserved = reserved - ?, spent = spent + ?", usd, usd)


_COLUMNS = tuple(line.split()[0] for line in _TABLES.partition(");")[0].splitlines()[2:-1])


def _holder() -> str:
    """This process, as its machine knows it."""
    return f"{socket.gethostname()} {os.getpid()}"


def _is_gone(holder: str) -> bool:
    """Whether `holder` was a process of this machine that has ended; of others only their lease tells."""
    host, _, process = holder.rpartition(" ")
    if host != socket.gethostname():
        return False
    if sys.platform == "win32":  # a signal 0 would reach every process of the console there; the lease tells
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _storable(text: str | None) -> str | None:
    """`text` without lone surrogates, which no UTF-8 file holds: a paid reply must not fail for one of them."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
