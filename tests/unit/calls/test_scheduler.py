"""Every wanted reply comes, is paid once, and is kept, whatever the transport does; time is the loop's own."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.clock import FakeClock
from understudy.calls import Call, CapTooLarge, Limits, Queued, RateLimited, Reply, TryAgain, Unreachable, Usage
from understudy.calls.ledger import CallLedger
from understudy.calls.scheduler import Scheduler
from understudy.errors import TeacherError, TeacherStopped

USAGE = Usage(input=100, output=50)


def price(usage: Usage, tier: str | None) -> float:
    return usage.input * 1e-4 + usage.output * 1e-3


def call(name: object, kind: str = "answers") -> Call:
    return Call(
        kind, str(name), "l", "m", ({"role": "user", "content": str(name)},), None, {}, 100, input_tokens=100
    )  # fmt: skip


class PlannedTransport:
    """Does for each call what its plan says, attempt by attempt; then a plain reply after half a second."""

    def __init__(self, plan: Callable[[Call, int], Any] = lambda call, attempt: None) -> None:
        self.plan, self.sent, self.order, self.at = plan, Counter(), [], []
        self.flying = self.most = 0

    async def send(self, call: Call) -> Reply:
        self.sent[call.document_id] += 1
        self.order.append(call.document_id)
        self.at.append(asyncio.get_running_loop().time())
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            outcome = self.plan(call, self.sent[call.document_id])
            if isinstance(outcome, tuple):
                await asyncio.sleep(outcome[0])
                outcome = outcome[1]
            elif outcome is None:
                await asyncio.sleep(0.5)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome or Reply(f"re: {call.document_id}", "stop", None, USAGE)
        finally:
            self.flying -= 1


class Bench:
    """A scheduler on leaping time, and its parts."""

    def __init__(
        self, tmp_path: Path, transport: PlannedTransport, max_usd: float | None = None, **options: Any
    ) -> None:
        self.transport, self.clock = transport, FakeClock()
        self.ledger = CallLedger(tmp_path / "calls.sqlite")
        self.scheduler = Scheduler(transport, self.ledger, price, max_usd=max_usd, clock=self.clock, **options)

    def all(self, calls: list[Call], **options: Any) -> list[Reply | BaseException]:
        futures = [self.scheduler.submit(call, **options) for call in calls]
        self.clock.go.set()
        results = [future.exception(60) or future.result() for future in futures]
        self.clock.go.clear()
        return results

    def close(self) -> None:
        self.clock.go.set()
        self.scheduler.close()
        self.ledger.close()


def reserved(b: Bench) -> float:
    with closing(sqlite3.connect(b.ledger.file)) as db:
        return float(db.execute("SELECT reserved FROM budget").fetchone()[0])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(plan: Callable[[Call, int], Any] = lambda call, attempt: None, **options: Any) -> Bench:
        made.append(Bench(tmp_path, PlannedTransport(plan), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def texts(replies: list[Reply | BaseException]) -> list[str]:
    return [reply.text if isinstance(reply, Reply) else repr(reply) for reply in replies]


def test_slots_are_never_idle_nor_overfull(bench: Callable[..., Bench]) -> None:
    b = bench()
    assert texts(b.all([call(i) for i in range(300)])) == [f"re: {i}" for i in range(300)]
    assert b.transport.most == 20 and b.clock.seconds == pytest.approx(7.5)


def test_a_stored_reply_is_never_paid_again(bench: Callable[..., Bench]) -> None:
    first = bench()
    first.all([call(i) for i in range(10)])
    first.close()
    again = bench()
    assert texts(again.all([call(i) for i in range(11)])) == [f"re: {i}" for i in range(11)]
    assert list(again.transport.sent) == ["10"]


def test_two_who_ask_the_same_cause_one_call(bench: Callable[..., Bench]) -> None:
    b = bench()
    assert texts(b.all([call("a")] * 5)) == ["re: a"] * 5
    assert b.transport.sent["a"] == 1


def test_a_later_round_is_a_new_call_and_comes_back_in_its_order(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, attempt: Reply(f"try {attempt}", "cut", None, USAGE))
    assert texts(b.all([call("a")])) == ["try 1"]
    assert texts(b.all([call("a")], round=1)) == ["try 2"]
    assert texts(b.all([call("a")]) + b.all([call("a")], round=1)) == ["try 1", "try 2"]
    assert b.transport.sent["a"] == 2


def test_answers_go_before_questions_and_retries_before_both(bench: Callable[..., Bench]) -> None:
    fails_once = {"q0": 1}
    # The failure takes half a second too: an instant one would be over before the others are asked for.
    failed = (0.5, TryAgain("503"))
    b = bench(lambda call, n: failed if n <= fails_once.get(call.document_id, 0) else None, concurrency=1)
    b.all([call("q0", "questions"), *(call(f"q{i}", "questions") for i in (1, 2)), *(call(f"a{i}") for i in (1, 2))])
    assert b.transport.order == ["q0", "a1", "q0", "a2", "q1", "q2"]


def test_a_waiting_retry_holds_no_slot(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: RateLimited("slow", 60) if call.document_id == "a" and n == 1 else None, concurrency=1)
    b.all([call("a"), *(call(i) for i in range(10))])
    assert b.transport.order == ["a", *map(str, range(10)), "a"] and b.clock.seconds == pytest.approx(60.5)


def test_rate_limits_use_up_no_attempt_and_faults_lose_nothing(bench: Callable[..., Bench]) -> None:
    def plan(call: Call, attempt: int) -> Any:
        i = int(call.document_id)
        if i % 10 == 0 and attempt <= 9:
            return RateLimited("429", 1)
        return TryAgain("500") if i % 20 == 1 and attempt == 1 else None

    b = bench(plan, attempts=2)
    assert texts(b.all([call(i) for i in range(200)])) == [f"re: {i}" for i in range(200)]
    assert b.transport.sent["0"] == 10 and reserved(b) == pytest.approx(0, abs=1e-9)
    assert b.ledger.spent() == pytest.approx(200 * price(USAGE, None))


def test_a_call_that_always_fails_fails_alone(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: TryAgain("503 from upstream") if call.document_id == "a" else None)
    replies = b.all([call(name) for name in "abc"])
    assert isinstance(replies[0], TeacherError) and "8 times, at last with: 503 from upstream" in str(replies[0])
    assert texts(replies[1:]) == ["re: b", "re: c"] and b.transport.sent["a"] == 8


def test_a_learnt_limit_is_kept_without_a_429(bench: Callable[..., Bench]) -> None:
    sent: list[float] = []

    def plan(call: Call, attempt: int) -> Any:
        now = b.clock.seconds
        sent.append(now)
        level = 180.0
        for before, after in zip([sent[0], *sent], sent):
            level = min(180, level + (after - before) * 3) - 1
        if level < -0.01:
            return RateLimited("429", 1)
        return 0.5, Reply("x", "stop", None, USAGE, limits=Limits(requests=180, requests_left=int(level)))

    b = bench(plan)
    b.all([call(i) for i in range(300)])
    assert len(sent) <= 303 and 39.9 < b.clock.seconds < 41.5


def test_the_budget_is_never_passed_and_more_of_it_goes_on(bench: Callable[..., Bench]) -> None:
    first = bench(max_usd=1.0)
    replies = first.all([call(i) for i in range(40)])
    stopped = [reply for reply in replies if isinstance(reply, TeacherStopped)]
    assert stopped and all("--set teacher.max_usd=" in str(error) for error in stopped)
    assert 0.85 < first.ledger.spent() <= 1.0
    first.close()
    second = bench(max_usd=10.0)
    assert texts(second.all([call(i) for i in range(40)])) == [f"re: {i}" for i in range(40)]
    assert second.transport.sent.total() == len(stopped)


def test_a_stop_lets_calls_in_flight_finish_and_keeps_them(bench: Callable[..., Bench]) -> None:
    # Not at once: the others are to be in flight by then.
    b = bench(lambda call, n: (0.4, TeacherStopped("quota")) if call.document_id == "5" else None, concurrency=10)
    replies = b.all([call(i) for i in range(30)])
    assert texts(replies[:5] + replies[6:10]) == [f"re: {i}" for i in range(10) if i != 5]
    assert all(isinstance(reply, TeacherStopped) and str(reply) == "quota" for reply in [replies[5], *replies[10:]])
    assert isinstance(b.all([call("later")])[0], TeacherStopped) and b.transport.sent.total() == 10
    assert b.ledger.reply(call(9).key, 0) and texts(b.all([call(9)])) == ["re: 9"]


def test_unreadable_replies_stop_after_three_and_show_how_they_begin(bench: Callable[..., Bench]) -> None:
    b = bench(concurrency=1)
    replies = b.all([call(i) for i in range(100)], usable=lambda reply: False)
    assert b.transport.sent.total() == 3
    assert "the first 3 replies could not be read" in str(replies[-1]) and "begins: 're: 2'" in str(replies[-1])


def test_empty_lists_stop_nothing_of_a_model_that_has_written_entries(bench: Callable[..., Bench]) -> None:
    b = bench(
        lambda call, n: None if call.document_id == "0" else Reply('{"items": []}', "stop", None, USAGE), concurrency=1
    )
    replies = b.all([call(i) for i in range(60)], usable=lambda reply: reply.text.startswith("re"))
    assert texts(replies) == ["re: 0", *['{"items": []}'] * 59]
    never = bench(lambda call, n: Reply('{"items": []}', "stop", None, USAGE), concurrency=1)
    assert "could not be read" in str(
        never.all([call(f"n{i}", "questions") for i in range(9)], usable=lambda _: False)[-1]
    )


def test_a_run_of_bad_replies_stops_everything(bench: Callable[..., Bench]) -> None:
    b = bench(concurrency=1)
    assert texts(b.all([call("good")], usable=lambda reply: True)) == ["re: good"]
    replies = b.all([call(i) for i in range(100)], usable=lambda reply: False)
    assert b.transport.sent.total() == 11
    assert "10 of the last 11 calls went wrong: 10 x a reply without a usable item" in str(replies[-1])


def test_scattered_bad_replies_stop_nothing(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: TryAgain("500") if int(call.document_id) % 5 == 0 and n == 1 else None)
    assert texts(b.all([call(i) for i in range(400)])) == [f"re: {i}" for i in range(400)]


def test_a_provider_that_only_says_too_many_is_not_asked_for_ever(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: RateLimited("429"))
    assert "half an hour" in str(b.all([call("a")])[0])
    assert b.ledger.spent() == 0


def test_a_network_that_is_gone_for_a_minute_costs_nothing_but_time(bench: Callable[..., Bench]) -> None:
    def plan(call: Call, attempt: int) -> Any:
        now, left = b.clock.seconds, 5.0 - b.clock.seconds
        if 5.0 <= now < 65.0:
            return Unreachable("no connection")
        return (left, TryAgain("the connection was dropped", paid=True)) if 0 < left <= 0.5 else None

    b = bench(plan, attempts=2)
    assert texts(b.all([call(i) for i in range(300)])) == [f"re: {i}" for i in range(300)]
    assert 67 <= b.clock.seconds < 84
    assert sum(5.0 <= at < 65.0 for at in b.transport.at) <= 20 + 10, "one call at a time looks"
    assert b.ledger.spent() == pytest.approx(300 * price(USAGE, None), rel=0.3)


def test_a_network_that_stays_away_ends_the_run_with_a_sentence(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: Unreachable("no connection to http://there") if b.clock.seconds > 1 else None)
    replies = b.all([call(i) for i in range(100)])
    assert "no connection to http://there, for 15 minutes now" in str(replies[-1])
    assert texts(replies[:20]) == [f"re: {i}" for i in range(20)] and 900 < b.clock.seconds < 930
    assert b.ledger.spent() == pytest.approx(sum(isinstance(r, Reply) for r in replies) * price(USAGE, None))


def test_a_model_that_loads_for_minutes_is_waited_for_by_one_call_at_a_time(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    loading = Unreachable("the server is still loading its model (503: Loading model)", retry_seconds=None)
    b = bench(lambda call, n: loading if b.clock.seconds < 240 else None)
    assert texts(b.all([call(i) for i in range(40)])) == [f"re: {i}" for i in range(40)]
    assert 240 <= b.clock.seconds < 260
    assert sum(at < 240 for at in b.transport.at) <= 20 + 22, "one call at a time looks"
    assert "still loading its model" in caplog.text
    assert b.ledger.spent() == pytest.approx(40 * price(USAGE, None))


def test_what_the_server_says_of_its_loading_time_is_kept_to(bench: Callable[..., Bench]) -> None:
    b = bench(
        lambda call, n: Unreachable("loading", retry_seconds=30) if b.clock.seconds < 100 else None, concurrency=1
    )
    assert texts(b.all([call(i) for i in range(3)])) == ["re: 0", "re: 1", "re: 2"]
    assert sum(at < 100 for at in b.transport.at) <= 5


def test_a_retry_after_of_a_busy_server_is_waited_for(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: TryAgain("HTTP 503: overloaded", retry_seconds=40) if n <= 2 else None)
    assert texts(b.all([call("a")])) == ["re: a"]
    assert b.clock.seconds == pytest.approx(80.5)


def test_a_server_that_answers_one_at_a_time_is_fed_one_at_a_time(tmp_path: Path) -> None:
    """It takes two seconds a call; who has waited three seconds for the first word is given up."""

    class OneAtATime(PlannedTransport):
        waiting: list[object] = []

        async def send(self, call: Call) -> Reply:
            self.sent[call.document_id] += 1
            place = object()
            crowd = len(self.waiting)
            self.waiting.append(place)
            try:
                for _ in range(30):
                    if self.waiting[0] is place:
                        break
                    await asyncio.sleep(0.1)
                else:
                    raise Queued("no word came in 3 s", paid=True) if crowd else TryAgain("hangs")
                await asyncio.sleep(2.0)
                return Reply(f"re: {call.document_id}", "stop", None, USAGE)
            finally:
                self.waiting.remove(place)

    transport = OneAtATime()
    b = Bench(tmp_path, transport, concurrency=4, attempts=2)
    try:
        assert texts(b.all([call(i) for i in range(12)])) == [f"re: {i}" for i in range(12)]
        assert transport.sent.total() <= 12 + 4, "after the first time-outs no call starves"
    finally:
        b.close()


def test_replies_that_overlap_bring_all_slots_back(bench: Callable[..., Bench]) -> None:
    def plan(call: Call, attempt: int) -> Any:
        if call.document_id == "0" and attempt == 1:
            return Queued("no word came", paid=True)
        return 0.5, Reply("x", "stop", None, USAGE, overlapped=True)

    b = bench(plan, concurrency=4)
    b.all([call(i) for i in range(60)])
    assert b.transport.most == 4 and b.clock.seconds < 12


def test_refusals_of_talks_never_stop_the_others(bench: Callable[..., Bench]) -> None:
    def plan(call: Call, attempt: int) -> Any:
        return None if int(call.document_id) % 3 == 0 else Reply("", "refused", "stopped by a filter", USAGE)

    replies = bench(plan).all([call(i) for i in range(60)], usable=lambda reply: bool(reply.text))
    assert all(isinstance(reply, Reply) for reply in replies)


def test_a_run_of_replies_that_were_all_thought_stops_with_the_way_out(bench: Callable[..., Bench]) -> None:
    thought = Usage(input=100, output=50, reasoning=50)
    b = bench(lambda call, n: Reply("", "length", None, thought), concurrency=1)
    replies = b.all([call(i) for i in range(20)], usable=lambda reply: bool(reply.text))
    assert "all 50 tokens went into thinking; raise teacher.thinking_tokens" in str(replies[-1])


def test_a_cap_that_is_too_large_costs_nothing_and_reaches_its_caller(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: CapTooLarge("8192 at most", 8192) if call.document_id == "a" else None)
    replies = b.all([call("a"), call("b")])
    assert isinstance(replies[0], CapTooLarge) and replies[0].limit == 8192
    assert texts(replies[1:]) == ["re: b"] and b.ledger.spent() == pytest.approx(price(USAGE, None))


def test_what_is_not_counted_is_booked_by_what_came_and_not_by_the_cap(bench: Callable[..., Bench]) -> None:
    def plan(call: Call, attempt: int) -> Any:
        if call.document_id == "uncounted":
            return Reply("x" * 40, "stop", None, None, output_estimate=10)
        if call.document_id == "dropped":
            return Reply("x" * 40, "cut", None, None)
        return TryAgain("Provider down", paid=True, output=5) if attempt == 1 else None

    b = bench(plan)
    b.all([call("uncounted")])
    assert b.ledger.spent() == pytest.approx(price(Usage(input=100, output=10), None))
    b.all([call("broken")])
    first, second = price(Usage(input=100, output=10), None), price(Usage(input=100, output=5), None)
    assert b.ledger.spent() == pytest.approx(first + second + price(USAGE, None))
    b.all([call("dropped")])
    worst = price(Usage(input=100, output=100), None)
    assert b.ledger.spent() == pytest.approx(first + second + price(USAGE, None) + worst)


def test_a_fault_of_the_wire_reaches_its_caller(bench: Callable[..., Bench]) -> None:
    b = bench(lambda call, n: KeyError("choices") if call.document_id == "a" else None)
    replies = b.all([call("a"), call("b")])
    assert isinstance(replies[0], TeacherError) and "KeyError" in str(replies[0]) and texts(replies[1:]) == ["re: b"]


def test_a_judge_that_raises_loses_no_paid_reply(bench: Callable[..., Bench]) -> None:
    def usable(reply: Reply) -> bool:
        raise TeacherError("not JSON")

    b = bench()
    assert isinstance(b.all([call("a")], usable=usable)[0], TeacherError)
    assert texts(b.all([call("a")])) == ["re: a"] and b.transport.sent["a"] == 1
    assert b.ledger.spent() == pytest.approx(price(USAGE, None))


def test_closing_keeps_what_is_on_its_way(bench: Callable[..., Bench]) -> None:
    b = bench(concurrency=3)
    futures = [b.scheduler.submit(call(i)) for i in range(9)]
    while b.transport.flying < 3:
        time.sleep(0.001)
    b.close()
    assert texts([future.exception() or future.result() for future in futures[:3]]) == ["re: 0", "re: 1", "re: 2"]
    assert all(isinstance(future.exception(), TeacherStopped) for future in futures[3:])
    with pytest.raises(TeacherStopped, match="closed"):
        b.scheduler.ask(call("new"))
    assert b.scheduler.ask(call(1)).text == "re: 1"


def test_a_thousand_threads_may_wait(bench: Callable[..., Bench]) -> None:
    b, result = bench(), []
    threads = [threading.Thread(target=lambda i=i: result.append(b.scheduler.ask(call(i)).text)) for i in range(1000)]
    for thread in threads:
        thread.start()
    while b.scheduler.pending < 1000:
        time.sleep(0.001)
    b.clock.go.set()
    for thread in threads:
        thread.join(60)
    assert sorted(result) == sorted(f"re: {i}" for i in range(1000)) and b.clock.seconds == pytest.approx(25)


PROGRAM = """
import asyncio, sys, threading
from pathlib import Path
from tests.unit.calls.test_scheduler import call, price, USAGE
from understudy.calls import Reply
from understudy.calls.ledger import CallLedger
from understudy.calls.scheduler import Scheduler

class Transport:
    async def send(self, call):
        print("sent", call.document_id, flush=True)
        await asyncio.sleep(0.05)
        return Reply("re: " + call.document_id, "stop", None, USAGE)

ledger = CallLedger(Path(sys.argv[1]))
scheduler = Scheduler(Transport(), ledger, price, concurrency=5)
futures = [scheduler.submit(call(i)) for i in range(60)]
assert [future.result().text for future in futures] == [f"re: {i}" for i in range(60)]
"""


def test_a_kill_pays_again_at_most_what_was_in_flight(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "calls.sqlite")]
    sent: list[str] = []
    for kill_after in (12, 23, None):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
        assert process.stdout
        for count, line in enumerate(process.stdout, 1):
            if line.endswith("\n"):  # the kill may cut the last one
                sent.append(line)
            if count == kill_after:
                process.send_signal(signal.SIGKILL)
        process.wait()
        assert kill_after or process.returncode == 0
    assert len(set(sent)) == 60 and len(sent) <= 60 + 2 * 5


def test_a_talk_is_read_to_its_end_before_another_where_one_is_kept_in_mind(tmp_path: Path) -> None:
    class Transport:
        order: list[tuple[str, str]] = []

        async def send(self, call: Call) -> Reply:
            self.order.append((call.document_id, call.kind))
            return Reply("fine", "stop", None, USAGE)

    def call_of(talk: str, kind: str) -> Call:
        return Call(kind, talk, "l", "m", ({"role": "user", "content": talk + kind},), None, {}, 100)

    transport = Transport()
    scheduler = Scheduler(transport, CallLedger(tmp_path / "calls.sqlite"), price, concurrency=1, linger_seconds=2.0)
    try:
        first = [scheduler.submit(call_of(talk, "questions")) for talk in "ABC"]
        for talk, future in zip("ABC", first, strict=True):
            future.result(30)
            scheduler.submit(call_of(talk, "answers")).result(30)
    finally:
        scheduler.close()
    assert transport.order == [(talk, kind) for talk in "ABC" for kind in ("questions", "answers")]
