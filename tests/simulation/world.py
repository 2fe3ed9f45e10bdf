"""
One thread runs at a time, and a seed says which one goes on; time passes only when all of them wait.

Every wait of the product goes through the seam `Clock`, so what happens between two waits happens at once, and the same
seed gives the same history. A lock that is held during a wait would hang the history, which counts as a defect.
"""

import asyncio
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NoReturn, TypeVar

START = datetime(2026, 3, 1, tzinfo=UTC)
LONGEST_SECONDS = 24 * 3600.0
"""Of one process: every outage is over by then, so a process that still waits would never end."""
YIELDS = 0.15
T = TypeVar("T")


def _never() -> bool:
    return False


class Seat:
    """One thread, and what it waits for."""

    def __init__(self, name: str) -> None:
        self.name, self.turn = name, threading.Semaphore(0)
        self.ready: Callable[[], bool] = _never
        self.wake_at: float | None = None
        self.thread: threading.Thread | None = None
        self.ended = False


class World:
    """The clock and the order of everything in one process."""

    def __init__(self, random: Random, now: float, jump: tuple[float, float] = (0.0, 0.0)) -> None:
        """`now`: simulated seconds at the start; `jump`: (seconds from then, seconds by which the date leaps)."""
        self.random, self.now, self.jump = random, now, (now + jump[0], jump[1])
        self.began, self.steps = now, 0
        self.crash_at: int | None = None
        self.crash: Callable[[str], NoReturn]
        self.trace: Callable[[str], None] = lambda line: None
        self.main = Seat("main")
        self.main.thread = threading.current_thread()
        self.seats = [self.main]
        self._here = threading.local()
        self._here.seat = self.main
        self.all = [self.main]

    def seat(self, name: str) -> Seat:
        """A place for a thread that is about to start; it runs when its turn comes."""
        seat = Seat(name)
        seat.ready = lambda: True
        self.seats.append(seat)
        self.all.append(seat)
        return seat

    def begin(self, seat: Seat) -> None:
        """What a new thread does first."""
        seat.thread, self._here.seat = threading.current_thread(), seat
        seat.turn.acquire()

    def end(self) -> None:
        """What a thread does last."""
        seat: Seat = self._here.seat
        seat.ended = True
        self.seats.remove(seat)
        self._next(None)

    def run(self, name: str, work: Callable[[], None]) -> Seat:
        """Have `work` done by a thread of its own."""
        seat = self.seat(name)

        def whole() -> None:
            self.begin(seat)
            try:
                work()
            finally:
                self.end()

        threading.Thread(target=whole, name=name, daemon=True).start()
        return seat

    def step(self, what: str) -> None:
        """A moment in which the process may be killed."""
        self.steps += 1
        if self.crash_at is not None and self.steps >= self.crash_at:
            self.crash(what)

    def perhaps_yield(self) -> None:
        """Let another thread go first, now and then."""
        if self.random.random() < YIELDS:
            self.wait(lambda: True)

    def wait(self, ready: Callable[[], bool] = _never, wake_at: float | None = None) -> None:
        """Return when `ready` or at `wake_at`, whichever comes first."""
        seat: Seat = self._here.seat
        seat.ready, seat.wake_at = ready, wake_at
        self._next(seat)

    def _next(self, me: Seat | None) -> None:
        self.step("a wait")
        while not (able := [seat for seat in self.seats if seat.ready()]):
            times = [seat.wake_at for seat in self.seats if seat.wake_at is not None]
            self.now = max(self.now, min(times)) if times else self.now
            if not times or self.now - self.began > LONGEST_SECONDS:
                self.crash(f"everybody waits: {', '.join(seat.name for seat in self.seats)}")
            for seat in self.seats:
                if seat.wake_at is not None and seat.wake_at <= self.now:
                    seat.ready, seat.wake_at = (lambda: True), None
        chosen = self.random.choice(able) if len(able) > 1 else able[0]
        chosen.ready, chosen.wake_at = _never, None
        if chosen is not me:
            chosen.turn.release()
            if me:
                me.turn.acquire()


class SimulatedClock:
    """The seam `Clock` of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> datetime:
        at, by = self.world.jump
        return START + timedelta(seconds=self.world.now + (by if self.world.now >= at else 0.0))

    def monotonic(self) -> float:
        return self.world.now

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        self.world.wait(wake.is_set if wake else _never, self.world.now + seconds)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return Loop(self.world)

    def result(self, future: Future[T]) -> T:
        if not future.done():
            self.world.wait(future.done)
        return future.result()

    def join(self, thread: threading.Thread) -> None:
        def ended() -> bool:
            return any(seat.thread is thread and seat.ended for seat in self.world.all)

        if not ended():
            self.world.wait(ended)
        thread.join()


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a seat: when it has nothing to do it waits for its next timer, or for another thread."""

    def __init__(self, world: World) -> None:
        self.world, self.seat = world, world.seat("calls")
        super().__init__(_Selector(self))
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.world.now

    def run_forever(self) -> None:
        self.world.begin(self.seat)
        try:
            super().run_forever()
        finally:
            self.world.end()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Done at once: a thread without a seat would run beside the others."""
        future: asyncio.Future[T] = self.create_future()
        future.set_result(func(*args))
        return future

    def busy(self) -> bool:
        """Whether a callback waits to be run."""
        return bool(self._ready) or self._stopping  # type: ignore[attr-defined]

    def _make_self_pipe(self) -> None:
        """None: who calls from another thread holds the turn, and the callback is seen when it is given on."""

    def _close_self_pipe(self) -> None: ...

    def _write_to_self(self) -> None: ...


class _Selector(selectors.BaseSelector):
    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise AssertionError("a simulated process opens no socket")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise AssertionError("a simulated process opens no socket")

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        world = self.loop.world
        if timeout is not None and timeout <= 0:
            world.perhaps_yield()
        else:
            world.wait(self.loop.busy, None if timeout is None else world.now + timeout)
        return []
