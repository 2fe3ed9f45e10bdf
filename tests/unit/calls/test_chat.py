"""One call over HTTP: what is sent, what is read, and what every outcome becomes."""

import asyncio
import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fixtures.clock import FakeClock
from understudy.calls import Call, CapTooLarge, Finish, Queued, RateLimited, Reply, TryAgain, Unreachable, Usage
from understudy.calls.chat import ChatTransport, Timeouts
from understudy.calls.chat_errors import hider, limits_of, wait_of
from understudy.calls.reply_problems import problem_of
from understudy.channel.ledger import Ledger
from understudy.errors import ConfigError, ContentRefused, TalkTooLong, TeacherError, TeacherStopped

KEY = "sk-planted-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
QUICK = Timeouts(connect=10, first_token=10, idle=0.5, flex=10)

Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next line of the script; the last line stays."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self, body)

    def do_GET(self) -> None:
        self.server.listed += 1
        self.server.models(self, {})

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""

    def begin(self, status: int, kind: str, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """A server with a script. `address` is what a client is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Answer] = [streamed(text("hello"), END)]
        self.models: Answer = error(404, {"error": "no such page"})
        self.asked: list[dict[str, Any]] = []
        self.listed = self.connections = 0
        self.release = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/v1"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"id": "c-1", "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}], **more}


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "c-1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


END = delta("stop")
USAGE = {
    "choices": [],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 300,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 256},
    },
}


def streamed(*events: Any, done: bool = True, then: str = "end", headers: dict[str, str] | None = None) -> Answer:
    """A stream of events; bytes go as they are. `then`: end it well, drop the connection, or hang."""

    def answer(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin(200, "text/event-stream", headers or {})
        for event in events:
            raw = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
            handler.chunk(raw)
        if then == "hang":
            handler.server.release.wait(20)
        if then != "end":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.chunk(b"data: [DONE]\n\n") if done else None
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def error(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin(status, "application/json", headers or {}, len(raw))
        handler.wfile.write(raw)

    return answer


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    return error(status, {"error": {"message": message, **more}}, headers)


def hang_up(handler: Handler, _: dict[str, Any]) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def break_off(handler: Handler, _: dict[str, Any]) -> None:
    """Close in the middle of the header."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
    handler.wfile.flush()
    hang_up(handler, {})


def never(handler: Handler, _: dict[str, Any]) -> None:
    handler.server.release.wait(20)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.release.set()
    running.shutdown()
    thread.join()
    running.server_close()


def call(**settings: Any) -> Call:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "A talk."})
    return Call("answers", "tea-talk", "openai/toy", "toy", messages, SCHEMA, settings, 500, (1, 2), 1200, 400)


def send(server: Server, *calls: Call, **options: Any) -> Any:
    """What the last of `calls` came to: a reply, or the exception it raised."""

    async def go() -> Any:
        transport = ChatTransport("toy", server.address, KEY, **{"timeouts": QUICK} | options)
        try:
            for one in calls or (call(),):
                try:
                    result: Any = await transport.send(one)
                except (RateLimited, TryAgain, TeacherError, TeacherStopped) as raised:
                    result = raised
            return result
        finally:
            await transport.close()

    return asyncio.run(go())


def probe(address: str) -> Exception | None:
    async def go() -> Exception | None:
        transport = ChatTransport("toy", address, KEY, "TEACHER_KEY", timeouts=QUICK)
        try:
            await transport.probe()
        except TeacherStopped as raised:
            return raised
        finally:
            await transport.close()
        return None

    return asyncio.run(go())


def test_a_whole_reply_keeps_text_usage_tier_and_limits(server: Server) -> None:
    headers = {
        "x-request-id": "r-9",
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "29000",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    server.script = [streamed(text("Tea "), text("cools.", service_tier="flex"), END, USAGE, headers=headers)]
    reply = send(server)
    assert (reply.text, reply.finish, reply.refusal, reply.tier) == ("Tea cools.", "stop", None, "flex")
    assert reply.usage == Usage(input=1200, cached=1024, written=100, output=300, reasoning=256)
    assert (reply.request_id, reply.limits.requests_left, reply.limits.tokens) == ("r-9", 499, 30000)
    assert (reply.limits.requests_reset_seconds, reply.limits.tokens_reset_seconds) == (0.12, 360.0)
    assert reply.seconds > 0


def test_the_text_is_the_same_however_the_bytes_are_cut(server: Server) -> None:
    words = "Grüße: 茶 cools\u2028slowly\x85 \U0001f375\n\n**bold**"
    raw = b"".join(
        b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\r\n\r\n" for event in (text(words), END)
    )
    for size in (1, 7, 1000):
        server.script = [streamed(b": waking up\n\n", *(raw[at : at + size] for at in range(0, len(raw), size)))]
        assert send(server).text == words


def test_a_server_that_does_not_stream_is_read_all_the_same(server: Server) -> None:
    server.script = [error(200, {"choices": [{"message": {"content": "whole"}, "finish_reason": "length"}]})]
    reply = send(server)
    assert (reply.text, reply.finish, reply.usage) == ("whole", "length", None)


def test_reasoning_is_counted_and_never_in_the_text(server: Server) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 50}}
    for name in ("reasoning_content", "reasoning"):
        server.script = [streamed(delta(**{name: "x" * 40}), text("answer"), END, usage)]
        reply = send(server)
        assert (reply.text, reply.usage.reasoning) == ("answer", 10)
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "answer"}]
    server.script = [streamed(delta(content=blocks), END)]
    assert send(server).text == "answer"


@pytest.mark.parametrize(
    ("last", "finish", "refusal"),
    [
        (delta("length"), "length", None),
        (delta("stop", refusal="I will not."), "refused", "I will not."),
        (delta("content_filter"), "refused", "stopped by the provider's content filter"),
        (delta("error"), "cut", None),
        (delta("MAX_TOKENS"), "length", None),
        (delta("insufficient_system_resource"), "cut", None),
        (delta("SAFETY"), "refused", "stopped by the provider's content filter (SAFETY)"),
        (delta("content_filter: SPII"), "refused", "stopped by the provider's content filter (content_filter: SPII)"),
        (delta("PROHIBITED_CONTENT"), "refused", "stopped by the provider's content filter (PROHIBITED_CONTENT)"),
    ],
)
def test_every_ending_has_its_name(server: Server, last: Any, finish: Finish, refusal: str | None) -> None:
    server.script = [streamed(text("some"), last)]
    reply = send(server)
    assert (reply.text, reply.finish, reply.refusal) == ("some", finish, refusal)


def test_the_request_holds_the_schema_the_cap_and_no_setting_without_a_value(server: Server) -> None:
    send(server, call(temperature=0.2, seed=None, top_k=4), extra_body={"thinking": False})
    request = server.asked[0]
    assert request["response_format"]["json_schema"] == {"name": "reply", "strict": True, "schema": SCHEMA}
    assert (request["temperature"], request["top_k"], request["thinking"], request["max_tokens"]) == (
        0.2,
        4,
        False,
        500,
    )
    assert request["stream_options"] == {"include_usage": True}
    assert not {"seed", "max_completion_tokens", "prompt_cache_key", "service_tier"} & set(request)


def test_only_openai_is_told_of_caches_and_tiers(server: Server) -> None:
    send(server, openai=True)
    request = server.asked[0]
    assert (request["prompt_cache_key"], request["service_tier"]) == (call().prefix, "default")
    assert request["max_completion_tokens"] == 500
    assert "max_tokens" not in request


def test_what_a_server_refuses_is_left_out_at_once_and_remembered(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def picky(handler: Handler, body: dict[str, Any]) -> None:
        if "max_tokens" in body:
            message = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            refusal(400, message, param="max_tokens", code="unsupported_parameter")(handler, body)
        elif "temperature" in body:
            refusal(400, "Unsupported value: 'temperature' does not support 0.2.", param="temperature")(handler, body)
        elif "response_format" in body:
            error(422, {"detail": [{"loc": ["body", "response_format"], "msg": "extra fields"}]})(handler, body)
        else:
            streamed(text("plain"), END)(handler, body)

    server.script = [picky]
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert send(server, call(temperature=0.2), call(temperature=0.2), memory=ledger).text == "plain"
    assert len(server.asked) == 5
    assert len(caplog.records) == 1
    assert send(server, call(temperature=0.2), memory=Ledger(ledger.file)).text == "plain"
    assert len(server.asked) == 6
    assert not [file for file in tmp_path.iterdir() if KEY.encode() in file.read_bytes()]


def test_calls_at_the_same_time_do_not_unlearn_what_one_of_them_learnt(server: Server, tmp_path: Path) -> None:
    def no_schema(handler: Handler, body: dict[str, Any]) -> None:
        slow = "seed" in body
        if "response_format" in body:
            refusal(400, "response_format is not supported")(handler, body)
        else:
            handler.server.release.wait(0.1) if slow else None
            streamed(text("plain"), END)(handler, body)

    server.script = [no_schema]

    async def go() -> None:
        transport = ChatTransport("toy", server.address, KEY, timeouts=QUICK)
        bare = Call("answers", "d", "l", "toy", call().messages, None, {"seed": 1}, 9)
        await asyncio.gather(transport.send(bare), transport.send(call()))
        await transport.send(call())
        await transport.close()

    asyncio.run(go())
    assert len(server.asked) == 4


def test_a_cap_both_names_of_which_are_refused_stops_with_the_servers_words(server: Server) -> None:
    server.script = [refusal(400, "max_tokens or max_completion_tokens may be 100 at most", param="max_tokens")]
    result = send(server)
    assert isinstance(result, TeacherStopped)
    assert "may be 100 at most" in str(result)
    assert len(server.asked) <= 3


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(900_000, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(server: Server, headers: dict[str, str], wait: float | None) -> None:
    reply_headers = headers | {"x-ratelimit-remaining-requests": "0"}
    # The text of an ordinary rate limit may point at the billing page.
    server.script = [refusal(429, "Slow down, see /account/billing", reply_headers, code="rate_limit_exceeded")]
    result = send(server, clock=FakeClock(datetime.fromtimestamp(1_000_000, UTC)))
    assert isinstance(result, RateLimited)
    assert (result.retry_seconds, result.limits.requests_left) == (wait, 0)


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    ],
)
def test_a_used_up_quota_stops_the_run(server: Server, code: str) -> None:
    server.script = [refusal(429, "No more.", {"retry-after": "1"}, code=code)]
    assert isinstance(send(server), TeacherStopped)
    server.script = [refusal(402, "Insufficient Balance")]
    assert isinstance(send(server), TeacherStopped)


def test_a_flex_call_without_room_goes_at_the_standard_price_the_third_time(server: Server) -> None:
    def busy(handler: Handler, body: dict[str, Any]) -> None:
        if body["service_tier"] == "flex":
            refusal(429, "Resource unavailable", code="resource_unavailable")(handler, body)
        else:
            streamed(text("dear", service_tier="default"), END)(handler, body)

    server.script = [busy]
    for times in (1, 2):
        assert isinstance(send(server, *[call()] * times, tier="flex", openai=True), RateLimited)
    server.asked.clear()
    reply = send(server, *[call()] * 3, tier="flex", openai=True)
    assert (reply.text, reply.tier) == ("dear", "default")
    assert [request["service_tier"] for request in server.asked] == ["flex", "flex", "flex", "default"]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again(server: Server, status: int) -> None:
    server.script = [refusal(status, "Oops")]
    result = send(server)
    assert isinstance(result, TryAgain)
    assert result.paid == (status in (408, 504))
    assert "Oops" in str(result)
    server.script = [error(status, b"<html>bad gateway</html>")]
    assert isinstance(send(server), TryAgain)


def test_a_dropped_or_stalled_stream_keeps_its_beginning(server: Server) -> None:
    for then in ("drop", "hang"):
        server.script = [streamed(text("half an ans"), then=then)]
        reply = send(server)
        assert (reply.text, reply.finish, reply.usage) == ("half an ans", "cut", None)
    server.script = [streamed(text("closed early"), done=False)]
    assert send(server).finish == "cut"
    server.script = [streamed(text("half"), b'data: {"choi\n\n', text("lost"), END)]
    reply = send(server)
    assert (reply.text, reply.finish) == ("half", "cut")


def test_a_stream_that_ended_is_whole_though_the_connection_hangs(server: Server) -> None:
    server.script = [streamed(text("all of it"), END, then="hang")]
    assert send(server).finish == "stop"


def test_comments_that_keep_a_connection_open_do_not_stand_for_words(server: Server) -> None:
    def pinging(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin(200, "text/event-stream", {})
        handler.chunk(b"data: " + json.dumps(text("half")).encode() + b"\n\n")
        while not handler.server.release.wait(0.05):
            handler.chunk(b": ping\n\n")

    server.script = [pinging]
    assert send(server).finish == "cut"


def test_no_word_at_all_is_tried_again_and_may_have_been_paid(server: Server) -> None:
    for answer in (never, hang_up, break_off, streamed(then="hang"), streamed(delta(role="assistant"), then="drop")):
        server.script = [answer]
        result = send(server, timeouts=QUICK._replace(first_token=0.3))
        assert isinstance(result, TryAgain), answer
        assert result.paid
    server.script = [streamed(delta(reasoning="hm"), then="hang")]
    assert "stalled" in str(send(server))


def test_a_connection_that_never_stood_was_not_paid() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def go() -> None:
        transport = ChatTransport("toy", f"http://127.0.0.1:{port}/v1")
        with pytest.raises(TryAgain) as raised:
            await transport.send(call())
        assert not raised.value.paid
        await transport.close()

    asyncio.run(go())
    assert f"127.0.0.1:{port}" in str(probe(f"http://127.0.0.1:{port}/v1"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "busy", "code": 429}}, RateLimited),
        ({"error": {"message": "Output blocked by content filtering policy", "type": "api_error"}}, ContentRefused),
        ({"error": {"message": "none left", "code": "insufficient_quota"}}, TeacherStopped),
        ({"error": {"message": "odd", "type": "invalid_request_error"}}, TeacherStopped),
        ({"error": {"message": "crashed", "type": "server_error"}}, TryAgain),
        ({"error": "crashed"}, TryAgain),
        ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, TeacherStopped),
        ({"object": "error", "message": "maximum context length is 4096", "code": 400}, TeacherError),
    ],
)
def test_an_error_in_a_stream_is_an_error_like_any_other(server: Server, body: Any, kind: type[Exception]) -> None:
    for answer in (streamed(body), error(200, body)):
        server.script = [answer]
        assert isinstance(send(server), kind)
    server.script = [streamed(text("half"), body)]
    assert send(server).finish == "cut"


def test_a_page_that_is_no_chat_is_not_a_reply(server: Server) -> None:
    server.script = [error(200, b"<!doctype html><html>A web page</html>")]
    result = send(server)
    assert isinstance(result, TeacherStopped)
    assert "<!doctype html>" in str(result)
    assert "/v1" in str(result)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422])
def test_a_refused_request_stops_with_the_servers_words_and_what_to_do(server: Server, status: int) -> None:
    server.script = [refusal(status, "Because of the moon.")]
    result = send(server, api_key_env="TEACHER_KEY")
    assert isinstance(result, TeacherStopped)
    assert "Because of the moon." in str(result)
    assert (("TEACHER_KEY" in str(result)) is (status in (401, 403))) or status == 404


def test_an_unknown_model_is_answered_with_the_nearest_names(server: Server) -> None:
    server.script = [refusal(404, "The model `toy` does not exist.", code="model_not_found")]
    server.models = error(200, {"data": [{"id": "toys-2"}, {"id": "toy-1"}, {"id": "whale"}]})
    assert "toy-1, toys-2" in str(send(server))


@pytest.mark.parametrize(
    ("status", "message", "more"),
    [
        (400, "Too many.", {"code": "context_length_exceeded"}),
        (400, "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens.", {}),
        (400, "the request exceeds the available context size", {"type": "exceed_context_size_error"}),
        (413, "Payload too large", {}),
        (429, "Request too large for toy on tokens per min (TPM): Limit 10, Requested 20.", {"code": "rate_limit"}),
    ],
)
def test_a_talk_that_does_not_fit_fails_alone(server: Server, status: int, message: str, more: Any) -> None:
    server.script = [refusal(status, message, **more)]
    result = send(server)
    assert isinstance(result, TeacherError)
    assert all(word in str(result) for word in ("tea-talk", "1200", "teacher.context_window"))
    assert len(server.asked) == 1


def test_the_probe_is_free_and_finds_what_no_call_can_pass(server: Server) -> None:
    assert probe(server.address) is None
    server.models = error(200, {"data": []})
    assert probe(server.address) is None
    server.models = refusal(401, "Missing scopes: api.model.read")
    assert probe(server.address) is None
    server.models = refusal(401, "Incorrect API key provided")
    assert "TEACHER_KEY" in str(probe(server.address))
    assert server.asked == []


def test_no_secret_is_in_any_error_log_or_repr(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"Incorrect API key provided: {KEY}. Bearer {KEY}; {KEY[:10]}*******cdef"
    texts: list[str] = [repr(ChatTransport("toy", server.address, KEY))]
    for status in (400, 401, 403, 404, 408, 413, 422, 429, 500):
        for answer in (refusal(status, echo, code=KEY), error(status, echo.encode()), error(status, {"detail": echo})):
            server.script, server.models = [answer], answer
            result = send(server)
            texts += ["".join(traceback.format_exception(result)), repr(result), str(result.__context__)]
    server.script = [streamed({"error": {"message": echo}})]
    texts += [repr(send(server)), *(record.getMessage() for record in caplog.records)]
    server.script = [refusal(400, f"temperature {echo}"), streamed(text("x"), END)]
    send(server, call(temperature=1))
    texts.append(caplog.text)
    assert not [line for line in texts if KEY[3:] in line or KEY[:12] in line]


def test_a_key_of_any_shape_is_hidden(server: Server) -> None:
    key = "planted-0123456789abcdef"
    server.script = [refusal(401, f"Incorrect API key provided: {key}")]

    async def go() -> None:
        transport = ChatTransport("toy", server.address, key, timeouts=QUICK)
        try:
            await transport.send(call())
        finally:
            await transport.close()

    with pytest.raises(TeacherStopped) as raised:
        asyncio.run(go())
    assert "[key]" in str(raised.value) and key not in str(raised.value)


def test_a_key_or_address_that_cannot_work_is_a_problem_of_the_preset() -> None:
    addresses = (
        "127.0.0.1:1234/v1",
        f"http://me:{KEY}@127.0.0.1/v1",
        f"http://127.0.0.1/v1?key={KEY}",
        f"http://127.0.0.1/v1?version={KEY}",
    )
    for options in (
        {"api_key": f"{KEY}\u2026"},
        {"headers": {"x-team": f"{KEY}\n"}},
        {"headers": {"no name": "x"}},
        {"headers": {"x-team": "${NO_SUCH_VARIABLE}"}},
        {"tier": "batch"},
        *({"base_url": address} for address in addresses),
    ):
        with pytest.raises(ConfigError) as raised:
            ChatTransport("toy", **({"api_key": KEY} | options))
        assert KEY not in str(raised.value)


def test_connections_are_used_again(server: Server) -> None:
    assert isinstance(send(server, *[call()] * 5), Reply)
    assert server.connections == 1


def test_words_are_hidden_and_durations_read() -> None:
    assert hider("abcdefghijkl")("key abcdefgh***** and abcdefghijkl.") == "key [key] and [key]."
    assert hider(None)("key sk-abcdef123") == "key [key]"
    assert limits_of({"x-ratelimit-reset-tokens": "1h2m3.5s"}).tokens_reset_seconds == 3723.5
    assert limits_of({"x-ratelimit-reset-tokens": "later"}).tokens_reset_seconds is None
    assert wait_of({"retry-after": "inf"}, datetime.now(UTC)) is None


def test_calls_go_through_the_transport_that_is_handed_in() -> None:
    class InProcess:
        def asynchronous(self) -> httpx2.AsyncBaseTransport:
            return httpx2.MockTransport(answer)

        def blocking(self) -> httpx2.BaseTransport:
            return httpx2.MockTransport(answer)

    def answer(request: httpx2.Request) -> httpx2.Response:
        message = {"role": "assistant", "content": f"from {request.url.host}"}
        return httpx2.Response(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})

    async def go() -> Reply:
        transport = ChatTransport("toy", "http://nowhere.invalid/v1", KEY, http=InProcess())
        try:
            return await transport.send(call())
        finally:
            await transport.close()

    assert asyncio.run(go()).text == "from nowhere.invalid"


CAP_REFUSALS = (
    "max_tokens is too large: 20000. This model supports at most 8000 completion tokens, whereas you provided 20000.",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8000]",
    "max_tokens: 20000 > 8000, which is the maximum allowed number of output tokens for toy-2-20990101",
    "litellm.BadRequestError: Error code: 400 - Range of max_tokens should be [1,8000]",
)


@pytest.mark.parametrize("message", CAP_REFUSALS)
def test_a_cap_above_the_limit_is_learned_and_asked_within_it(server: Server, tmp_path: Path, message: str) -> None:
    def strict(handler: Handler, body: dict[str, Any]) -> None:
        cap = body.get("max_tokens") or body["max_completion_tokens"]
        fine = streamed(text("short enough"), END)
        (fine if cap <= 8000 else refusal(400, message, param="max_tokens"))(handler, body)

    server.script = [strict]
    one = replace(call(), max_tokens=20_000, numbers=(3,))
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert send(server, one, memory=ledger).text == "short enough"
    many = send(server, replace(one, numbers=(1, 2, 3)), memory=Ledger(ledger.file))
    assert isinstance(many, CapTooLarge) and many.limit == 8000
    assert len(server.asked) == 2, "what is remembered is not asked for again"


def test_a_cap_that_does_not_fit_the_window_beside_the_talk_is_not_a_talk_too_long(server: Server) -> None:
    words = (
        "This model's maximum context length is 16384 tokens. However, you requested 23000 tokens (3000 in the "
        "messages, 20000 in the completion). Please reduce the length of the messages or completion."
    )
    server.script = [refusal(400, words, type="BadRequestError")]
    result = send(server, replace(call(), max_tokens=20_000))
    assert isinstance(result, CapTooLarge) and 13_000 < result.limit <= 16_384 - 3000
    prompt = words.replace("23000", "39000").replace("(3000", "(19000")
    server.script = [refusal(400, prompt, type="BadRequestError")]
    assert isinstance(send(server, replace(call(), max_tokens=20_000)), TalkTooLong)


def test_what_the_account_still_affords_is_asked_for_before_it_counts_as_empty(server: Server) -> None:
    poor = refusal(402, "This request requires more credits, or fewer max_tokens. You can only afford 300.", code=402)
    server.script = [poor, streamed(text("just enough"), END)]
    assert send(server, replace(call(), numbers=(1,))).text == "just enough"
    assert server.asked[1]["max_tokens"] == 300
    server.script = [poor]
    assert isinstance(send(server, replace(call(), numbers=(1,))), TeacherStopped)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "The response was filtered due to the prompt.", "code": "content_filter"}}),
        (400, {"error": {"code": "400", "message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
        (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}),
        (403, {"error": {"code": 403, "message": 'toy requires moderation; it was flagged for "medical"'}}),
        (400, {"error": {"message": "Invalid prompt: it was flagged as violating our usage policy."}}),
        (400, {"error": {"code": "InputTextSensitiveContentDetected", "message": "The input may contain it."}}),
        (451, {"error": {"message": "Unavailable for legal reasons"}}),
        (
            400,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 400,
                    "metadata": {"raw": '{"error":{"message":"Blocked: PROHIBITED_CONTENT"}}'},
                }
            },
        ),
    ],
)
def test_a_filter_refuses_one_talk_in_the_servers_words(server: Server, status: int, body: Any) -> None:
    server.script = [error(status, body)]
    result = send(server)
    assert isinstance(result, ContentRefused)
    fields = body.get("error", body)
    assert "tea-talk" in str(result) and fields["message"].rstrip(".") in str(result)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Your credit balance is too low to access the API. Please go to Plans & Billing."),
        (400, "Access denied, please make sure your account is in good standing."),
        (403, "Your team has used all available credits or reached its monthly spending limit."),
        (403, "Key limit exceeded (total limit). Manage it in the settings."),
        (429, "Insufficient balance, please recharge."),
    ],
)
def test_an_empty_account_is_named_as_one_whatever_its_status(server: Server, status: int, message: str) -> None:
    server.script = [refusal(status, message, type="invalid_request_error")]
    result = send(server)
    assert isinstance(result, TeacherStopped)
    assert "used up" in str(result) and message.split(".", maxsplit=1)[0] in str(result)


def test_an_account_that_was_closed_is_not_taken_for_a_talk_that_was_refused(server: Server) -> None:
    server.script = [refusal(403, "Your account has been suspended for violating our usage policies.")]
    assert isinstance(send(server), TeacherStopped)


def test_a_slip_of_the_model_is_tried_again_and_then_without_the_schema(server: Server) -> None:
    slip = refusal(400, "Failed to generate JSON.", code="json_validate_failed", failed_generation='{"items": [')
    server.script = [slip, slip, streamed(text("plain"), END), streamed(text("with it"), END)]
    assert isinstance(send(server), TryAgain)
    server.script = [slip, slip, streamed(text("plain"), END), streamed(text("with it"), END)]
    assert send(server, *[call()] * 3).text == "plain"
    assert ["response_format" in body for body in server.asked[1:]] == [True, True, False]


@pytest.mark.parametrize("name", ["additionalProperties", "additional_properties"])
def test_a_schema_refused_in_the_words_of_a_gateway_is_left_out(server: Server, name: str) -> None:
    words = f"Unknown name \"{name}\" at 'generation_config.response_schema': Cannot find field."
    server.script = [error(400, [{"error": {"code": 400, "message": words}}]), streamed(text("plain"), END)]
    assert send(server).text == "plain"
    assert "response_format" not in server.asked[1]


def test_a_refusal_nobody_knows_is_the_talks_once_a_talk_has_passed(server: Server) -> None:
    odd = refusal(400, "The moon is full.")
    server.script = [streamed(text("fine"), END), odd]
    result = send(server, *[call()] * 2)
    assert isinstance(result, TeacherError) and "The moon is full" in str(result)
    server.script = [streamed(text("fine"), END), odd]
    talks = [replace(call(), document_id=f"talk-{number}") for number in range(10)]
    assert isinstance(send(server, call(), *talks), TeacherStopped), "ten talks in a row are no longer the talks"


def test_a_model_that_is_loading_is_waited_for_and_not_counted(server: Server) -> None:
    for body in ({"error": {"code": 503, "message": "Loading model"}}, {"error": "Model toy is currently loading"}):
        server.script = [error(503, body, {"retry-after": "7"})]
        result = send(server)
        assert isinstance(result, Unreachable) and "loading" in str(result).lower()
        assert result.retry_seconds == 7
    server.script = [refusal(503, "The engine is overloaded")]
    result = send(server)
    assert isinstance(result, TryAgain) and not isinstance(result, Unreachable)


def test_a_choice_that_is_null_and_counts_that_are_strings_lose_nothing(server: Server) -> None:
    counts = {"choices": [], "usage": {"prompt_tokens": "1200", "completion_tokens": "9.0", "total_tokens": None}}
    odd = [{"choices": [None]}, {"choices": None}, {"choices": [{"delta": None, "message": None}]}, {"choices": "x"}]
    server.script = [streamed(*odd, text("ok"), delta(content=7), text(" then"), END, counts)]
    reply = send(server)
    assert (reply.text, reply.finish, reply.usage) == ("ok then", "stop", Usage(input=1200, output=9))
    for usage in ("many", ["1"], {"prompt_tokens": "some"}, {"prompt_tokens_details": 3, "completion_tokens": []}):
        server.script = [streamed(text("ok"), END, {"choices": [], "usage": usage})]
        assert (send(server).text, send(server).usage) == ("ok", None)


def test_an_error_inside_a_choice_is_told_and_is_not_paid_while_no_token_came(server: Server) -> None:
    broken = {
        "choices": [{"delta": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "Down"}}]
    }
    server.script = [streamed(broken)]
    result = send(server)
    assert isinstance(result, TryAgain) and "Down" in str(result) and not result.paid
    server.script = [streamed(delta("error"))]
    result = send(server)
    assert isinstance(result, TryAgain) and "finish_reason 'error'" in str(result) and not result.paid
    server.script = [streamed(delta(reasoning="x" * 400), broken)]
    result = send(server)
    assert result.paid and result.output == 100
    server.script = [streamed(text("half an answer.."), broken)]
    reply = send(server)
    assert (reply.finish, reply.output_estimate) == ("cut", 4)


def test_a_reply_without_counts_is_estimated_and_a_dropped_one_is_not(server: Server) -> None:
    server.script = [streamed(text("x" * 400), END)]
    assert send(server).output_estimate == 100
    server.script = [streamed(text("x" * 400), then="drop")]
    assert send(server).output_estimate is None


@pytest.mark.parametrize("blank", [" ", "\n", "\t ", "\\n", "\u00a0"])
def test_a_loop_of_white_space_is_cut_off_while_it_streams(server: Server, blank: str) -> None:
    good = '{"items":[{"question_number":1,"text":"Tea cools."}'

    def loop(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin(200, "text/event-stream", {})
        pieces = [good, *[blank * 50] * 2000]
        try:
            for piece in pieces:
                handler.chunk(b"data: " + json.dumps(text(piece)).encode() + b"\n\n")
        except OSError:
            handler.server.release.set()

    server.script = [loop]
    reply = send(server)
    assert reply.text.startswith(good) and reply.finish == "cut"
    assert len(reply.text) < 10_000
    assert reply.output_estimate and reply.output_estimate < 3000


def test_megabytes_of_spaces_are_no_reply_and_take_no_time(server: Server) -> None:
    server.script = [error(200, b" " * 10_000_000)]
    assert isinstance(send(server), TeacherError | TryAgain | TeacherStopped)


def test_a_reply_that_was_all_thought_says_so(server: Server) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 1500, "completion_tokens": 800}}
    server.script = [streamed(delta(reasoning_content="let me think " * 20), delta("length"), usage)]
    reply = send(server)
    assert reply.usage.reasoning == 800
    assert problem_of(reply) == "all 800 tokens went into thinking; raise teacher.thinking_tokens or turn thinking off"
    assert problem_of(replace(reply, text="<think>so ", usage=None)).startswith("everything went into thinking")
    assert problem_of(replace(reply, text='{"items": []}')) is None


def test_a_call_that_waits_its_turn_is_no_hang_and_one_alone_is(server: Server) -> None:
    turn = threading.Lock()

    def one_at_a_time(handler: Handler, body: dict[str, Any]) -> None:
        with turn:
            handler.server.release.wait(0.6)
            streamed(text("my turn"), END)(handler, body)

    async def go(count: int) -> list[Any]:
        transport = ChatTransport("toy", server.address, KEY, timeouts=QUICK._replace(first_token=0.9))
        calls = [replace(call(), document_id=f"talk-{number}") for number in range(count)]
        try:
            return await asyncio.gather(*map(transport.send, calls), return_exceptions=True)
        finally:
            await transport.close()

    server.script = [one_at_a_time]
    outcomes = asyncio.run(go(3))
    assert sum(isinstance(outcome, Queued) for outcome in outcomes) >= 1
    assert any(isinstance(outcome, Reply) and not outcome.overlapped for outcome in outcomes)
    server.script = [never]
    (alone,) = asyncio.run(go(1))
    assert isinstance(alone, TryAgain) and not isinstance(alone, Queued)


def test_azure_takes_its_key_in_a_header_and_its_version_in_the_query(server: Server) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def look(handler: Handler, body: dict[str, Any]) -> None:
        seen.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        streamed(text("from Azure"), END)(handler, body)

    server.script = [look]
    root = server.address.removesuffix("/v1")

    async def go(address: str, **options: Any) -> Reply:
        transport = ChatTransport("toy", address, KEY, timeouts=QUICK, **options)
        try:
            return await transport.send(call())
        finally:
            await transport.close()

    asyncio.run(go(f"{root}/openai/deployments/my-toy?api-version=2024-10-21"))
    path, headers = seen.pop()
    assert path == "/openai/deployments/my-toy/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == KEY and "authorization" not in headers
    asyncio.run(go(f"{root}/v1", headers={"HTTP-Referer": "https://tea.example", "X-Team": "brown"}))
    path, headers = seen.pop()
    assert (headers["http-referer"], headers["x-team"], headers["authorization"]) == (
        "https://tea.example",
        "brown",
        f"Bearer {KEY}",
    )


def test_a_header_takes_its_secret_from_a_variable_and_no_message_shows_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_TOKEN", "gate-planted-987654321")

    def echo(handler: Handler, body: dict[str, Any]) -> None:
        refusal(401, f"Wrong token {handler.headers['x-gate']}")(handler, body)

    server.script = [echo]
    result = send(server, headers={"x-gate": "Bearer ${GATE_TOKEN}"})
    assert "Wrong token" in str(result) and "987654321" not in str(result)
