"""The Batch API: half price, nothing submitted twice, and what fails is left to direct calls."""

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.fixtures.clock import FakeClock
from tests.fixtures.teacher_faults import Plan
from tests.fixtures.teacher_server import TeacherServer
from understudy.calls import Call, Usage, prompting
from understudy.calls.batch import Batch, body_of
from understudy.calls.chat import ChatTransport
from understudy.calls.chat_errors import Abilities
from understudy.calls.ledger import CallLedger
from understudy.calls.prices import price_of
from understudy.calls.replies import parse
from understudy.errors import TeacherStopped
from understudy.interfaces import TeacherRequest
from understudy.records import Document, Paragraph
from understudy.seams import SystemClock

KEY = "sk-planted-0123456789abcdef"
USD = price_of("gpt-5-mini")


def call(number: int, model: str = "gpt-5-mini") -> Call:
    words = " ".join(f"kettle{chr(97 + number % 26)}{chr(97 + at % 26)}{chr(97 + at // 26)}" for at in range(200))
    document = Document(
        document_id=f"talk-{number}",
        title=f"Talk {number}",
        locator="x",
        how="test",
        paragraphs=[Paragraph(text=words)],
    )
    prompt = prompting.compose(TeacherRequest(kind="questions", document=document, count=4))
    return Call(
        kind="questions",
        document_id=document.document_id,
        label=f"openai/{model}",
        model=model,
        messages=prompt.messages,
        schema=prompting.SCHEMA,
        settings={"seed": 7},
        max_tokens=900,
        input_tokens=600,
        output_tokens=200,
    )


CALLS = [call(number) for number in range(30)]


class Killed(FakeClock):
    """After `stop_after` pauses it behaves like a killed process."""

    def __init__(self, stop_after: int) -> None:
        super().__init__()
        self.stop_after = stop_after

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        if len(self.pauses) >= self.stop_after:
            raise KeyboardInterrupt
        super().sleep(seconds)


def quiet(done: int, total: int, note: str = "") -> None:
    """A report that nobody reads."""


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with TeacherServer(Plan(key=KEY)) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[CallLedger]:
    opened = CallLedger(tmp_path / "calls.sqlite")
    yield opened
    opened.close()


def batch(server: TeacherServer, ledger: CallLedger, clock: FakeClock | None = None, **more: Any) -> Batch:
    options = {"max_usd": 5.0, "clock": clock or FakeClock()} | more
    return Batch(ledger, USD, base_url=server.url, api_key=KEY, **options)


def batches_on(server: TeacherServer) -> list[Any]:
    return list(server._batches._batches.values())


def test_replies_come_at_half_price_under_the_keys_of_direct_calls(server: TeacherServer, ledger: CallLedger) -> None:
    updates: list[tuple[int, int, str]] = []
    counts = batch(server, ledger).run(CALLS, lambda done, total, note="": updates.append((done, total, note)))
    assert counts == {"done": 30, "failed": 0, "already": 0}
    assert updates[-1][:2] == (30, 30)
    for call in CALLS:
        reply = ledger.reply(call.key, 0)
        assert reply and reply.tier == "batch" and len(parse(reply, "questions", ()).items) == 4
    full = sum(USD(ledger.reply(call.key, 0).usage, None) for call in CALLS)
    assert ledger.spent() == pytest.approx(full / 2)
    assert ledger.spent() == pytest.approx(server.account.usd, rel=0.05)


def test_what_is_known_is_not_asked_and_needs_no_network(server: TeacherServer, ledger: CallLedger) -> None:
    batch(server, ledger).run(CALLS[:10], quiet)
    assert batch(server, ledger).run(CALLS[:12], quiet) == {"done": 2, "failed": 0, "already": 10}
    server.__exit__()
    try:
        assert batch(server, ledger).run(CALLS[:12], quiet) == {"done": 0, "failed": 0, "already": 12}
    finally:
        server.__enter__()


def test_failing_lines_are_left_to_direct_calls(server: TeacherServer, ledger: CallLedger) -> None:
    server.change(error_500=0.1, seed=3)
    counts = batch(server, ledger).run(CALLS, quiet)
    failed = server.account.replies["error_500"]
    assert failed and counts == {"done": 30 - failed, "failed": failed, "already": 0}
    assert sum(ledger.reply(call.key, 0) is None for call in CALLS) == failed
    assert ledger.note(batch(server, ledger).note_name) is None


def test_a_killed_run_finds_its_batch_again(server: TeacherServer, ledger: CallLedger, tmp_path: Path) -> None:
    server.change(batch_polls=3)
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS, quiet)
    ledger.close()
    again = CallLedger(tmp_path / "calls.sqlite")
    # Another talk has come meanwhile: only that one is new.
    counts = batch(server, again).run([*CALLS, call(30)], quiet)
    assert counts == {"done": 31, "failed": 0, "already": 0}
    assert [len(made.lines) for made in batches_on(server)] == [30, 1]
    assert server.account.paid_calls == 31
    again.close()


def test_a_run_killed_while_fetching_keeps_the_rest_too(server: TeacherServer, ledger: CallLedger) -> None:
    class Dying(CallLedger):
        kept = 0

        def keep(self, *values: Any) -> None:
            self.kept += 1
            if self.kept > 10:
                raise KeyboardInterrupt
            super().keep(*values)

    dying = Dying(ledger.file)
    with pytest.raises(KeyboardInterrupt):
        batch(server, dying).run(CALLS, quiet)
    dying.close()
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 20, "failed": 0, "already": 10}
    assert server.account.paid_calls == 30


def test_replies_nobody_asks_for_now_stay_to_be_fetched(server: TeacherServer, ledger: CallLedger) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS, quiet)
    assert batch(server, ledger).run(CALLS[:5], quiet)["done"] == 5
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 25, "failed": 0, "already": 5}
    assert server.account.paid_calls == 30 and len(batches_on(server)) == 1


def test_the_finished_part_of_an_expired_batch_is_kept(server: TeacherServer, ledger: CallLedger) -> None:
    server.change(batch_expires_after=12)
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 12, "failed": 18, "already": 0}
    server.change(batch_expires_after=None)
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 18, "failed": 0, "already": 12}
    assert server.account.paid_again == 0


def test_a_budget_too_small_sends_nothing(server: TeacherServer, ledger: CallLedger) -> None:
    worst = len(CALLS) * USD(Usage(input=600, output=900), "batch")
    with pytest.raises(TeacherStopped, match=r"does not cover a batch of 30 calls.*teacher\.max_usd="):
        batch(server, ledger, max_usd=worst * 0.99).run(CALLS, quiet)
    assert not batches_on(server)
    assert batch(server, ledger, max_usd=worst * 1.01).run(CALLS, quiet)["done"] == 30


def test_batches_under_way_count_against_the_budget(server: TeacherServer, ledger: CallLedger) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0), max_usd=0.04).run(CALLS, quiet)
    with pytest.raises(TeacherStopped, match="held for batches under way"):
        batch(server, ledger, max_usd=0.04).run([call(number) for number in range(40, 70)], quiet)


def test_large_work_goes_in_several_files_of_one_model_each(server: TeacherServer, ledger: CallLedger) -> None:
    other = [call(number, "gpt-5-nano") for number in range(3)]
    counts = batch(server, ledger, most_lines=12).run([*CALLS, *other, CALLS[0]], quiet)
    assert counts == {"done": 33, "failed": 0, "already": 0}
    assert [len(made.lines) for made in batches_on(server)] == [12, 12, 6, 3]
    server.reset()
    line = len(json.dumps(body_of(call(40), Abilities("max_tokens"), False, {}))) + 200
    batch(server, ledger, most_bytes=2 * line).run([call(number) for number in range(40, 46)], quiet)
    assert [len(made.lines) for made in batches_on(server)] == [2, 2, 2]


def test_a_refused_file_stops_with_the_servers_words(server: TeacherServer, ledger: CallLedger) -> None:
    class Mixing(Batch):
        def _files(self, calls: Iterable[Call], abilities: Abilities) -> Iterator[tuple[IO[bytes], list[Call]]]:
            return super()._files([*calls, call(1, "other")], abilities)

    clock = FakeClock()
    mixing = Mixing(ledger, USD, 5.0, server.url, KEY, clock=clock)
    with pytest.raises(TeacherStopped, match=r"did not accept the batch batch_\d+: One model per file"):
        mixing.run(CALLS[:3], quiet)
    assert ledger.note(mixing.note_name) is None and ledger.spent() == 0


def test_a_kill_between_upload_and_begin_uploads_nothing_twice(server: TeacherServer, ledger: CallLedger) -> None:
    class Dying(Batch):
        def _create(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dying(ledger, USD, 5.0, server.url, KEY).run(CALLS, quiet)
    files = len(server._batches._files)
    assert batch(server, ledger).run(CALLS, quiet)["done"] == 30
    assert [len(made.lines) for made in batches_on(server)] == [30]
    assert len(server._batches._files) == files + 1, "the output file is the only new one"


def test_a_batch_whose_number_was_never_heard_is_not_begun_twice(server: TeacherServer, ledger: CallLedger) -> None:
    class Deaf(Batch):
        def _note(self, entry: Any) -> None:
            if entry.batch:
                raise KeyboardInterrupt
            super()._note(entry)

    with pytest.raises(KeyboardInterrupt):
        Deaf(ledger, USD, 5.0, server.url, KEY).run(CALLS, quiet)
    real = server._batches.answer

    def listing(request: Any, path: str, exchange: Any) -> bool:
        if (request.method, path) != ("GET", "/batches"):
            return real(request, path, exchange)
        made = [server._batches._as_json(known) for known in batches_on(server)]
        exchange.send_json(200, {"object": "list", "data": made, "has_more": False})
        return True

    server._batches.answer = listing  # type: ignore[method-assign]  # the fixture cannot list
    assert batch(server, ledger).run(CALLS, quiet)["done"] == 30
    assert len(batches_on(server)) == 1


def test_a_file_the_server_has_deleted_stops_one_run_and_no_other(server: TeacherServer, ledger: CallLedger) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS, quiet)
    noted = json.loads(ledger.note(batch(server, ledger).note_name) or "")
    noted[0] |= {"batch": None, "file": "file-gone"}
    ledger.set_note(batch(server, ledger).note_name, json.dumps(noted))
    with pytest.raises(TeacherStopped, match="No such File object"):
        batch(server, ledger).run(CALLS, quiet)
    assert batch(server, ledger).run(CALLS, quiet)["done"] == 30


def test_a_batch_the_server_no_longer_knows_is_left_to_direct_calls(server: TeacherServer, ledger: CallLedger) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS, quiet)
    server.reset()
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 0, "failed": 30, "already": 0}
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 30, "failed": 0, "already": 0}


def test_results_the_server_has_deleted_are_asked_again(server: TeacherServer, ledger: CallLedger) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS, quiet)
    server._batches._look(batches_on(server)[0])
    server._batches._files.clear()
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 0, "failed": 30, "already": 0}
    assert batch(server, ledger).run(CALLS, quiet)["done"] == 30


def test_a_wrong_key_stops_and_is_written_nowhere(server: TeacherServer, ledger: CallLedger, caplog: Any) -> None:
    wrong = "sk-wrong-0123456789abcdef"
    clock = FakeClock()
    with pytest.raises(TeacherStopped, match="OPENAI_API_KEY") as stopped:
        Batch(ledger, USD, 5.0, server.url, wrong, clock=clock).run(CALLS, quiet)
    batch(server, ledger).run(CALLS, quiet)
    ledger.close()
    files = b"".join(file.read_bytes() for file in ledger.file.parent.iterdir())
    for key in (KEY, wrong):
        assert key not in str(stopped.value) + caplog.text and key.encode() not in files


def test_a_server_without_batches_is_named_as_such(ledger: CallLedger, server: TeacherServer) -> None:
    nowhere = Batch(ledger, USD, 5.0, server.url.replace("/v1", "/other"), KEY, clock=FakeClock())
    with pytest.raises(TeacherStopped, match=r"no Batch API.*teacher\.mode=direct"):
        nowhere.run(CALLS, quiet)


def test_a_server_away_while_polling_is_waited_for(server: TeacherServer, ledger: CallLedger) -> None:
    server.change(batch_polls=4)

    class Away(FakeClock):
        def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
            super().sleep(seconds)
            if len(self.pauses) == 1:
                server.__exit__()
            elif len(self.pauses) == 12:
                server.__enter__()

    clock = Away()
    assert batch(server, ledger, clock).run(CALLS, quiet)["done"] == 30
    assert clock.pauses[0] == 5 and max(clock.pauses) == 60 and len(batches_on(server)) == 1


def test_a_server_away_for_hours_stops_and_forgets_nothing(server: TeacherServer, ledger: CallLedger) -> None:
    class Away(FakeClock):
        def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
            super().sleep(seconds)
            if len(self.pauses) == 1:
                server.__exit__()

    clock = Away()
    with pytest.raises(TeacherStopped, match="the next run resumes it"):
        batch(server, ledger, clock).run(CALLS, quiet)
    server.__enter__()
    assert clock.seconds > 6 * 3600
    assert batch(server, ledger).run(CALLS, quiet)["done"] == 30 and len(batches_on(server)) == 1


def test_closing_ends_the_wait_and_the_batch_goes_on(server: TeacherServer, ledger: CallLedger) -> None:
    server.change(batch_polls=3)
    waiting = batch(server, ledger, clock=SystemClock())
    threading.Timer(0.3, waiting.close).start()
    with pytest.raises(TeacherStopped, match="closed"):
        waiting.run(CALLS, quiet)
    assert batch(server, ledger).run(CALLS, quiet)["done"] == 30 and len(batches_on(server)) == 1


@pytest.mark.parametrize("openai", [False, True])
def test_a_line_asks_what_the_direct_call_asks(server: TeacherServer, ledger: CallLedger, openai: bool) -> None:
    async def direct() -> None:
        transport = ChatTransport("gpt-5-mini", server.url, KEY, openai=openai, extra_body={"verbosity": "low"})
        await transport.send(CALLS[0])
        await transport.close()

    asyncio.run(direct())
    batch(server, ledger, openai=openai, extra_body={"verbosity": "low"}).run(CALLS[:1], quiet)
    assert server.account.paid_calls == 2 and server.account.paid_again == 1


def test_what_direct_calls_learnt_of_the_server_holds_here(server: TeacherServer, ledger: CallLedger) -> None:
    server.change(refused_parameters=("seed",))

    async def direct() -> None:
        transport = ChatTransport("gpt-5-mini", server.url, KEY, openai=False, memory=ledger)
        await transport.send(CALLS[0])
        await transport.close()

    asyncio.run(direct())
    assert batch(server, ledger).run(CALLS[:5], quiet) == {"done": 5, "failed": 0, "already": 0}


GOOD = {"choices": [{"message": {"content": '{"items": []}'}, "finish_reason": "stop"}]}


def result_file(server: TeacherServer, batch_at: int, lines: bytes) -> None:
    """Let a batch have this result file and no other."""
    server._batches._look(batches_on(server)[batch_at])
    made = batches_on(server)[batch_at]
    server._batches._files[made.output_file_id] = ("out.jsonl", "batch_output", lines)


@pytest.mark.parametrize(
    "odd",
    [
        b'{"custom_id": "KEY", "response": null, "error": "expired"}',
        b'{"custom_id": "KEY", "response": "gone", "error": null}',
        b'{"custom_id": "KEY", "response": {"status_code": 200, "body": null}, "error": null}',
        b'{"custom_id": "KEY", "response": {"status_code": 500, "body": "oops"}, "error": null}',
        b'{"custom_id": "KEY", "response": {"status_code": 200, "body": {"choices": [null]}}}',
        b'{"custom_id": "KEY", "response": {"status_code": 200, "body": {"choi',
        b"null",
        b"[1, 2]",
        b"\xff\xfe",
    ],
)
def test_a_line_in_any_state_is_a_failed_line_and_the_others_are_kept(
    server: TeacherServer, ledger: CallLedger, odd: bytes
) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS[:3], quiet)
    keys = [call.key for call in CALLS[:3]]
    lines = [
        json.dumps({"custom_id": key, "response": {"status_code": 200, "body": GOOD}, "error": None}).encode()
        for key in (keys[0], keys[0], keys[1])
    ]
    result_file(server, 0, b"\n".join([*lines, odd.replace(b"KEY", keys[2].encode())]))
    counts = batch(server, ledger).run(CALLS[:3], quiet)
    assert counts == {"done": 2, "failed": 1, "already": 0}
    assert ledger.reply(keys[2], 0) is None


def test_a_line_that_comes_twice_is_kept_and_counted_once(server: TeacherServer, ledger: CallLedger) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(server, ledger, Killed(stop_after=0)).run(CALLS[:3], quiet)
    lines = [
        json.dumps({"custom_id": call.key, "response": {"status_code": 200, "body": GOOD}}).encode()
        for call in (*CALLS[:3], *CALLS[:3])
    ]
    result_file(server, 0, b"\n".join(lines))
    assert batch(server, ledger).run(CALLS[:3], quiet) == {"done": 3, "failed": 0, "already": 0}
    assert ledger.reply(CALLS[0].key, 1) is None


class Queue:
    """A server on which only so many estimated tokens may wait in batches at once."""

    def __init__(self, server: TeacherServer, limit: int, named: bool = True) -> None:
        self.batches, self.limit, self.named = server._batches, limit, named
        self.sizes: list[int] = []
        self._create, self.batches._create = self.batches._create, self.create  # type: ignore[method-assign]

    def create(self, fields: dict[str, Any]) -> dict[str, Any]:
        made = self._create(fields)
        batch = self.batches._batches[made["id"]]
        tokens = 600 * len(batch.lines)
        self.sizes.append(len(batch.lines))
        if tokens > self.limit:
            words = f"Enqueued token limit reached for gpt-5-mini. Limit: {self.limit:,} enqueued tokens."
            message = words if self.named else "Enqueued token limit reached."
            batch.errors = [{"code": "token_limit_exceeded", "message": message, "param": None, "line": None}]
        return self.batches._as_json(batch)


def test_more_tokens_than_may_wait_at_once_go_in_batches_one_after_another(
    server: TeacherServer, ledger: CallLedger
) -> None:
    queue = Queue(server, 6000)
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 30, "failed": 0, "already": 0}
    assert queue.sizes[0] == 30 and max(queue.sizes[1:]) <= 10 and sum(queue.sizes[1:]) == 30
    assert server.account.paid_calls == 30
    more = [call(number) for number in range(40, 60)]
    assert batch(server, ledger).run(more, quiet)["done"] == 20
    assert max(queue.sizes[1:]) <= 10, "the limit is remembered"


def test_a_queue_whose_size_is_not_told_is_found_by_halves(server: TeacherServer, ledger: CallLedger) -> None:
    queue = Queue(server, 6000, named=False)
    assert batch(server, ledger).run(CALLS, quiet) == {"done": 30, "failed": 0, "already": 0}
    assert queue.sizes[:3] == [30, 15, 8]


def test_a_queue_without_room_for_one_call_leaves_it_to_direct_calls(server: TeacherServer, ledger: CallLedger) -> None:
    Queue(server, 100, named=False)
    assert batch(server, ledger).run(CALLS[:3], quiet) == {"done": 0, "failed": 3, "already": 0}
