"""
Many paid calls at once: who goes next, who waits, when to stop.

All work happens in one event loop in one thread of its own; the callers' threads only wait.
A reply is in the ledger before its caller sees it, so neither a kill nor a stop loses one.
"""

import asyncio
import heapq
import random
import threading
from bisect import insort
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from understudy.calls import (
    Call,
    CapTooLarge,
    Limits,
    Queued,
    RateLimited,
    Reply,
    Transport,
    TryAgain,
    Unreachable,
    Usage,
)
from understudy.calls.buckets import Buckets, Mark, Pace
from understudy.calls.ledger import CallLedger
from understudy.calls.outage import Outage
from understudy.calls.reply_json import is_empty_list
from understudy.calls.reply_problems import problem_of
from understudy.errors import AssetError, TeacherError, TeacherStopped
from understudy.seams import CLOCK, Clock

BACKOFF_SECONDS = (0.25, 20.0)
BUDGET_SECONDS = 1.0
RETRY_AFTER_AT_MOST_SECONDS = 600.0
OUTCOMES, BAD_OUTCOMES = 40, 10
UNREAD_REPLIES, SHOWN_CHARACTERS = 3, 300
_PASSES = {"questions": 2, "answers": 1}
_CLOSED = "the teacher is closed: no new call is made; what came is kept, and the next run resumes from there"
_T = TypeVar("_T")


@dataclass(eq=False)
class _Ask:
    """One reply that is wanted, by one thread or several."""

    call: Call
    key: str
    round: int
    usable: Callable[[Reply], bool] | None
    order: int
    futures: list[Future[Reply]]
    worst_usd: float
    in_flight: bool = False
    failures: int = 0
    limited: int = 0
    sent: int = 0

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Retries first, then later passes (a talk is finished before another one starts), then who came first."""
        return (not (self.failures or self.limited), _PASSES.get(self.call.kind, 0), self.order)


class Scheduler:
    """Sends calls through `transport`, within budget and limits, and keeps every reply."""

    def __init__(
        self,
        transport: Transport,
        ledger: CallLedger,
        usd: Callable[[Usage, str | None], float],
        *,
        max_usd: float | None = None,
        concurrency: int = 20,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        attempts: int = 8,
        linger_seconds: float = 0.0,
        seed: int = 0,
        clock: Clock = CLOCK,
    ) -> None:
        """`usd` prices tokens at a tier; `max_usd` is the most that all calls of the ledger may cost; `clock` makes the
        event loop: its timers are the only ones used.

        `linger_seconds` is how long the second pass over a talk is waited for before another talk starts: for a
        model that keeps one talk in mind at a time, and for one call at a time.
        """
        self._linger, self._talk, self._linger_until = linger_seconds, "", 0.0
        self._transport, self._ledger, self._max_usd, self.usd = transport, ledger, max_usd, usd
        self._attempts, self._clock = attempts, clock
        self._buckets = Buckets(requests_per_minute, tokens_per_minute)
        self._pace, self._outage = Pace(float(concurrency)), Outage()
        self._random = random.Random(seed)
        self._outcomes: list[tuple[int, str]] = []  # by when they were sent, '' for a good one
        self._asks: dict[tuple[str, int], _Ask] = {}
        self._ready: list[tuple[tuple[bool, int, int], _Ask]] = []
        self._tasks: dict[asyncio.Task[None], float] = {}  # by when they were sent
        self._wake: asyncio.TimerHandle | None = None
        self._order, self._stopped, self._closed = 0, "", False
        self._unread, self._readable = 0, False
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def ask(self, call: Call, round: int = 0, usable: Callable[[Reply], bool] | None = None) -> Reply:
        """The `round`-th reply to `call`: from the ledger where it is known, else paid for.

        Blocks; for any thread. `usable` is asked once per paid reply, on the scheduler's own thread, and only
        counts for the breaker. Raises TeacherError for this call alone, TeacherStopped for all.
        """
        return self._clock.result(self.submit(call, round, usable))

    def submit(self, call: Call, round: int = 0, usable: Callable[[Reply], bool] | None = None) -> Future[Reply]:
        """What `ask` returns, later."""
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()  # a caller that gives up must not stop the others
        key = call.key
        stored = self._ledger.reply(key, round)
        if stored:
            future.set_result(stored)
            return future
        with self._lock:
            if self._closed:
                raise TeacherStopped(_CLOSED)
            self._loop().call_soon_threadsafe(self._enter, key, call, round, usable, future)
        return future

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, done on the scheduler's own loop: what a transport's connections belong to."""
        with self._lock:
            loop = self._loop()
        return self._clock.result(asyncio.run_coroutine_threadsafe(work, loop))

    @property
    def pending(self) -> int:
        """How many different replies are waited for."""
        return len(self._asks)

    def close(self) -> None:
        """Make no new call, wait until every reply on its way is kept, and close the transport."""
        with self._lock:
            self._closed, running, self._running = True, self._running, None
        if running:
            loop, thread = running
            self._clock.result(asyncio.run_coroutine_threadsafe(self._drain(), loop))
            loop.call_soon_threadsafe(loop.stop)
            self._clock.join(thread)
            loop.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started at the first need: a run that finds everything in the ledger needs none."""
        if self._running is None:
            loop = self._clock.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="teacher-calls", daemon=True)
            thread.start()
            self._running = (loop, thread)
        return self._running[0]

    async def _drain(self) -> None:
        self._stop(_CLOSED)
        while self._tasks:
            await asyncio.wait(self._tasks)
        if close := getattr(self._transport, "close", None):
            await close()

    # From here on everything runs on the loop's thread.

    def _enter(
        self, key: str, call: Call, round: int, usable: Callable[[Reply], bool] | None, future: Future[Reply]
    ) -> None:
        if (key, round) in self._asks:
            self._asks[key, round].futures.append(future)
            return
        try:
            stored = self._ledger.reply(key, round)  # it may have come since the caller's own look
            worst_usd = self._worst_usd(call)
        except Exception as error:
            future.set_exception(error)
            return
        if stored:
            future.set_result(stored)
        elif self._stopped:
            future.set_exception(TeacherStopped(self._stopped))
        else:
            self._order += 1
            self._asks[key, round] = _Ask(call, key, round, usable, self._order, [future], worst_usd)
            self._make_ready(self._asks[key, round])

    def _make_ready(self, ask: _Ask) -> None:
        if not self._stopped:
            heapq.heappush(self._ready, (ask.rank, ask))
            self._pump()

    def _pump(self) -> None:
        """Send whatever may go now. The first in line is never overtaken, or an expensive call would starve."""
        loop = asyncio.get_running_loop()
        if self._wake:
            self._wake.cancel()
        while self._ready and len(self._tasks) < int(self._pace.width):
            ask, now = self._ready[0][1], loop.time()
            wait = max(self._pace.resume_at - now, self._buckets.wait_seconds(ask.call, now))
            wait = max(wait, self._outage.wait_seconds(now))
            if ask.call.document_id != self._talk:
                wait = max(wait, self._linger_until - now)
            attempt = None
            try:
                if wait <= 0:
                    attempt = self._ledger.reserve(ask.call, ask.worst_usd, self._max_usd)
            except (TeacherStopped, AssetError) as error:
                self._stop(str(error) if isinstance(error, TeacherStopped) else _unrecorded(error))
                return
            if attempt is None:
                # The budget is shared, so that the reply to another process may free some: look again.
                self._wake = loop.call_later(wait if wait > 0 else BUDGET_SECONDS, self._pump)
                return
            heapq.heappop(self._ready)
            ask.in_flight = True
            self._order += 1
            ask.sent = self._order
            self._outage.sent(now)
            task = loop.create_task(self._send(ask, attempt, self._buckets.take(ask.call, now), now))
            self._tasks[task] = now
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._pump()

    async def _send(self, ask: _Ask, attempt: int, marks: tuple[Mark, Mark], sent_at: float) -> None:
        """One attempt. Whatever happens, the reservation is settled and the ask goes on or ends."""
        call, limits = ask.call, Limits()
        try:
            try:
                reply = await self._transport.send(call)
                limits = reply.limits
                self._ledger.keep(call, attempt, reply, self.usd_of(call, reply))
            except Unreachable as error:
                self._ledger.nothing_sent(call, attempt)
                self._unreachable(ask, error, sent_at)
            except RateLimited as error:
                limits = error.limits
                self._ledger.nothing_sent(call, attempt)
                self._rate_limited(ask, error, sent_at)
            except CapTooLarge as error:
                self._ledger.nothing_sent(call, attempt)
                self._end(ask, error)
            except TryAgain as error:
                self._ledger.failed(call, attempt, str(error), self._usd_of_failure(call, error))
                self._queued(ask, sent_at) if isinstance(error, Queued) else self._failed(ask, error)
            except (TeacherError, TeacherStopped) as error:
                self._ledger.failed(call, attempt, str(error), 0.0)
                if isinstance(error, TeacherStopped):
                    self._stop(str(error))
                self._end(ask, error)
            else:
                self._replied(ask, reply)
        except AssetError as error:
            self._stop(_unrecorded(error))
            self._end(ask, error)
        except (Exception, asyncio.CancelledError) as error:  # a fault of ours: no caller may wait forever
            self._outcome(ask, f"{type(error).__name__}: {error}")
            with suppress(AssetError):
                self._ledger.interrupted(call, attempt)
            self._end(ask, TeacherError(f"{_name(call)} failed: {type(error).__name__}: {error}"))
        finally:
            self._buckets.learn(call, limits, marks, asyncio.get_running_loop().time())

    def _replied(self, ask: _Ask, reply: Reply) -> None:
        now = asyncio.get_running_loop().time()
        self._pace.replied(now, reply.overlapped)
        self._outage.reached(now)
        self._talk = ask.call.document_id
        self._linger_until = now + self._linger if ask.call.kind == "questions" else 0.0
        # A refusal is about one talk: however many there are, the others go on.
        fine = ask.usable is None or ask.usable(reply) or reply.finish == "refused"
        # Of a model that does write entries, an empty list says that there is nothing to ask about this one.
        fine = fine or (self._readable and is_empty_list(reply.text))
        why = problem_of(reply) or f"it ended by {reply.finish!r}"
        self._outcome(ask, "" if fine else f"a reply without a usable item ({why})")
        self._unread = 0 if fine else self._unread + (reply.finish == "stop" and bool(reply.text.strip()))
        self._readable = self._readable or fine
        if self._unread >= UNREAD_REPLIES and not self._readable and ask.call.kind in _PASSES:
            begin = " ".join(reply.text.split())[:SHOWN_CHARACTERS]
            self._stop(
                f"the first {self._unread} replies could not be read as a numbered list; the last begins: {begin!r}. "
                "Take a model that follows the form of a reply, or prompts of your own; every reply so far is kept"
            )
        self._end(ask, reply)

    def _rate_limited(self, ask: _Ask, error: RateLimited, sent_at: float) -> None:
        now = asyncio.get_running_loop().time()
        self._outage.reached(now)
        wait = self._backoff(ask.limited) if error.retry_seconds is None else error.retry_seconds
        ask.limited += 1
        accepted = sum(sent <= sent_at for sent in self._tasks.values()) - 1
        if self._pace.rate_limited(sent_at, now, wait, accepted):
            self._stop(f"rate-limited by the provider for half an hour without one reply ({error}); run again later")
        self._later(ask, wait)

    def _unreachable(self, ask: _Ask, error: Unreachable, sent_at: float) -> None:
        now = asyncio.get_running_loop().time()
        ask.limited += 1
        if self._outage.lost(sent_at, now, str(error), error.retry_seconds):
            minutes = (now - (self._outage.since or now)) / 60
            self._stop(f"{error}, for {minutes:.0f} minutes now; every reply so far is kept, run again when it is back")
        self._later(ask, self._backoff(0))

    def _queued(self, ask: _Ask, sent_at: float) -> None:
        """The server was busy with the other calls: fewer at once, and no attempt is used up."""
        ask.limited += 1
        self._pace.crowded(sent_at, asyncio.get_running_loop().time())
        self._later(ask, self._backoff(0))

    def _failed(self, ask: _Ask, error: TryAgain) -> None:
        if not error.paid:  # the server itself said no
            self._outage.reached(asyncio.get_running_loop().time())
        if ask.failures:  # the first time may be a blip that took all calls in flight along
            self._outcome(ask, str(error))
        ask.failures += 1
        if ask.failures >= self._attempts:
            self._end(ask, TeacherError(f"{_name(ask.call)} failed {ask.failures} times, at last with: {error}"))
        else:
            wait = min(error.retry_seconds or 0.0, RETRY_AFTER_AT_MOST_SECONDS)
            self._later(ask, max(wait, self._backoff(ask.failures - 1)))

    def _later(self, ask: _Ask, wait: float) -> None:
        """Come back in `wait` seconds; until then the ask holds no slot."""
        ask.in_flight = False
        if self._stopped:
            self._end(ask, TeacherStopped(self._stopped))
        else:
            asyncio.get_running_loop().call_later(wait, self._make_ready, ask)

    def _backoff(self, before: int) -> float:
        first, most = BACKOFF_SECONDS
        return self._random.uniform(0, min(most, first * 2 ** min(before, 30)))

    def _outcome(self, ask: _Ask, bad: str) -> None:
        """Note a good ('') or bad outcome; too many bad ones stop everything.

        The last ones are the last sent, not the last to end: those that hang end together, after all others.
        """
        insort(self._outcomes, (ask.sent, bad))
        del self._outcomes[:-OUTCOMES]
        reasons = Counter(outcome for _, outcome in self._outcomes if outcome)
        if reasons.total() >= BAD_OUTCOMES:
            summary = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
            share = f"{reasons.total()} of the last {len(self._outcomes)} calls went wrong"
            self._stop(f"{share}: {summary}. Every reply so far is kept; look into this, then start again")

    def _stop(self, why: str) -> None:
        """Send nothing new; calls in flight go on. The first reason is the one that is reported."""
        self._stopped = self._stopped or why
        self._ready.clear()
        for ask in [ask for ask in self._asks.values() if not ask.in_flight]:
            self._end(ask, TeacherStopped(self._stopped))

    def _end(self, ask: _Ask, result: Reply | Exception) -> None:
        self._asks.pop((ask.key, ask.round), None)
        for future in ask.futures:
            future.set_result(result) if isinstance(result, Reply) else future.set_exception(result)

    def usd_of(self, call: Call, reply: Reply) -> float | None:
        """What `reply` cost; by our own count where the server gives none; None where the output is unknown."""
        if reply.usage:
            return self.usd(reply.usage, reply.tier)
        if reply.output_estimate is None:
            return None
        return self.usd(Usage(input=call.input_tokens, output=reply.output_estimate), reply.tier)

    def _usd_of_failure(self, call: Call, error: TryAgain) -> float | None:
        if not error.paid:
            return 0.0
        return None if error.output is None else self.usd(Usage(input=call.input_tokens, output=error.output), None)

    def _worst_usd(self, call: Call) -> float:
        """The whole cap used, and the prompt paid in full or written to the provider's cache, whichever is dearer."""
        plain = Usage(input=call.input_tokens, output=call.max_tokens)
        return max(self.usd(plain, None), self.usd(replace(plain, written=call.input_tokens), None))


def _unrecorded(error: AssetError) -> str:
    return f"the calls cannot be recorded any more, so none is made: {error}"


def _name(call: Call) -> str:
    return f"the call for {call.kind} of {call.document_id}"
