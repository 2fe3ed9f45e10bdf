"""Laws of the server, asked by the real openai client."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from understudy.errors import ConfigError, WorkerFailed
from understudy.serving.model import Model
from understudy.serving.server import Server
from understudy.serving.worker import Stops

MESSAGES: Any = [{"role": "user", "content": "Why does a candle burn?"}]
LONG = {"max_tokens": 1900, "temperature": 1.0}


def ask(client: openai.OpenAI, **changes: Any) -> Any:
    settings = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "seed": 1}
    return client.chat.completions.create(**(settings | changes))


def text_of(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def post(server: Server, body: object, path: str = "/v1/chat/completions", **headers: str) -> Any:
    """Status, body and headers of a plain request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    content = body if isinstance(body, str) else json.dumps(body)
    connection.request("POST", path, content, {"Content-Type": "application/json"} | headers)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read()), response.headers
    connection.close()
    return answer


def test_the_one_model_is_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="only 'tiny'") as error:
        client.models.retrieve("gpt-5")
    assert error.value.code == "model_not_found"


def test_a_channels_name_is_enough_and_another_one_is_refused(gguf: Path) -> None:
    server = Server(Model(gguf), 0, name="tea-Q4_K_M")
    try:
        with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            assert text_of(ask(client, model="tea"))
            assert client.models.retrieve("tea").id == "tea-Q4_K_M"
            with pytest.raises(openai.NotFoundError, match="only 'tea-Q4_K_M'"):
                ask(client, model="te")
    finally:
        server.close()


def test_a_streamed_answer_says_what_a_whole_one_says(client: openai.OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == text_of(whole) != ""
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 12
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens > 12
    assert all(chunk.choices for chunk in ask(client, stream=True)), "usage is sent when it is asked for"


def test_a_text_is_continued_without_the_template(client: openai.OpenAI) -> None:
    settings: Any = {"model": "tiny", "prompt": "A candle", "max_tokens": 8, "temperature": 0, "seed": 1}
    whole = client.completions.create(**settings)
    assert whole.object == "text_completion" and whole.choices[0].finish_reason == "length"
    assert whole.usage and whole.usage.prompt_tokens < ask(client).usage.prompt_tokens
    assert whole.usage.completion_tokens == 8
    chunks = list(client.completions.create(**settings, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text != ""
    assert client.completions.create(**settings | {"prompt": ["A candle"]}).choices[0].text == whole.choices[0].text
    for changes in ({"prompt": ["A", "B"]}, {"echo": True}, {"logprobs": 3}, {"suffix": "end"}, {"best_of": 2}):
        with pytest.raises(openai.BadRequestError, match=next(iter(changes))):
            client.completions.create(**settings | changes)


def test_health_says_whether_requests_can_be_answered(server: Server, gguf: Path, tmp_path: Path) -> None:
    def health(of: Server) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", of.port, timeout=20)
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    assert health(server) == (200, {"status": "ok"})
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:20_000])
    broken = Server(Model(cut), 0)
    try:
        with openai.OpenAI(base_url=broken.url, api_key="any", max_retries=0) as client:
            for _ in range(2):
                with pytest.raises(openai.InternalServerError, match=r"cut\.gguf does not answer: llama\.cpp cannot"):
                    ask(client, model="cut")
        status, body = health(broken)
        assert status == 503 and "cut.gguf does not answer" in body["error"]["message"]
    finally:
        broken.close()


def test_the_same_prompt_is_not_read_twice(client: openai.OpenAI) -> None:
    ask(client)
    usage = ask(client).usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_a_seed_repeats_an_answer(client: openai.OpenAI) -> None:
    one, other, another = (text_of(ask(client, temperature=1.5, seed=seed)) for seed in (5, 5, 6))
    assert one == other != another


def test_top_p_and_penalties_change_what_they_should(client: openai.OpenAI) -> None:
    hot = {"temperature": 2, "max_tokens": 40}
    assert len({text_of(ask(client, **hot, seed=seed)) for seed in (1, 2)}) == 2
    assert len({text_of(ask(client, **hot, top_p=1e-6, seed=seed)) for seed in (1, 2)}) == 1, "one token is left"
    assert len({text_of(ask(client, **hot, seed=seed, extra_body={"top_k": 1})) for seed in (1, 2)}) == 1
    plain = text_of(ask(client, max_tokens=40))
    for penalty in ("frequency_penalty", "presence_penalty"):
        assert text_of(ask(client, max_tokens=40, **{penalty: 2})) != plain
    assert text_of(ask(client, max_tokens=40, extra_body={"repeat_penalty": 1.8})) != plain
    assert text_of(ask(client, max_tokens=40, frequency_penalty=0, presence_penalty=0, top_p=1)) == plain


def test_a_stop_text_ends_the_answer_before_it_and_leaves_the_model_loaded(
    server: Server, client: openai.OpenAI
) -> None:
    text = text_of(ask(client))
    stop, process = text[5:7], server.model.process
    for stops in ([stop], stop, [stop, "nowhere"]):
        stopped = ask(client, stop=stops)
        assert text_of(stopped) == text[: text.index(stop)]
        assert stopped.choices[0].finish_reason == "stop"
        assert stopped.usage.completion_tokens > 0 and stopped.usage.prompt_tokens > 12
    assert ask(client).usage.prompt_tokens_details.cached_tokens > 12
    assert server.model.process is process is not None and process.poll() is None


def test_no_piece_of_a_stop_text_is_sent() -> None:
    def passed_on(*stops: str) -> str:
        sent: list[str] = []
        text = Stops(list(stops), sent.append)
        for piece in ["abc", "d", "S", "TO", "x ST", "O", "P", "after"]:
            text.add(piece)
            if text.stopped:
                break
        text.close("")
        assert all(sent)
        return "".join(sent)

    assert passed_on("STOP", "zz", "") == "abcdSTOx "
    assert passed_on("nowhere") == passed_on() == "abcdSTOx STOPafter"
    assert passed_on("afterwards") == "abcdSTOx STOPafter", "what was held back is not lost"


def test_an_answer_keeps_to_a_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    schema["additionalProperties"] = False
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}
    assert json.loads(text_of(ask(client, response_format=form, max_tokens=200)))["yes"] in (True, False)
    started = text_of(ask(client, response_format={"type": "json_object"}, max_tokens=20))
    assert started.lstrip().startswith("{")


@pytest.mark.parametrize("schema", [{"$ref": "#/nowhere"}, {"type": "no type"}, {"type": "array", "items": 3}])
def test_a_schema_that_cannot_be_used_is_refused_and_harms_nothing(
    server: Server, client: openai.OpenAI, schema: dict[str, Any]
) -> None:
    process = server.model.process
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="response_format: the schema cannot be used"):
        ask(client, response_format=form)
    assert text_of(ask(client)) and server.model.process is process


def test_null_and_empty_values_are_as_if_left_out(server: Server) -> None:
    fields = (
        "stream tool_choice response_format tools temperature top_p seed max_tokens max_completion_tokens stop n user "
        "frequency_penalty presence_penalty logprobs top_logprobs logit_bias stream_options metadata model functions "
        "parallel_tool_calls reasoning_effort service_tier store audio modalities prediction verbosity"
    ).split()
    body: dict[str, Any] = {"messages": MESSAGES, "max_completion_tokens": 12, "temperature": 0}
    status, plain, _ = post(server, body)
    assert status == 200
    nothing = {"tools": [], "functions": [], "logit_bias": {}, "stop": [], "tool_choice": "none", "logprobs": False}
    harmless = {"user": "me", "metadata": {"a": "b"}, "parallel_tool_calls": True, "store": True, "n": 1}
    for extra in (dict.fromkeys(fields) | body, nothing | body, harmless | body):
        status, answer, _ = post(server, extra)
        assert (status, answer.get("choices")) == (200, plain["choices"]), answer
    nested = {"stream_options": {"include_usage": None}, "response_format": {"type": "text", "json_schema": None}}
    messages = [{"role": "user", "content": MESSAGES[0]["content"], "name": None, "tool_calls": None}]
    assert post(server, body | nested | {"messages": messages})[1]["choices"] == plain["choices"]


def test_messages_in_parts_and_from_a_developer_are_read(client: openai.OpenAI) -> None:
    def tokens(role: str, content: object) -> tuple[str, int]:
        reply = ask(client, messages=[{"role": role, "content": content}, *MESSAGES])
        return text_of(reply), reply.usage.prompt_tokens

    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    assert tokens("system", "Be brief.") == tokens("developer", "Be brief.") == tokens("system", parts)
    assert tokens("system", "Be brief.")[1] > ask(client).usage.prompt_tokens


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"tool_choice": "required"},
        {"functions": [{"name": "f"}]},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"logit_bias": {"5": 100}},
        {"messages": []},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, *MESSAGES]},
        {"messages": [{"role": "tool", "content": "5", "tool_call_id": "1"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
        {"temperature": -1},
        {"temperature": "warm"},
        {"top_p": 1.5},
        {"frequency_penalty": 3},
        {"max_tokens": 0},
        {"max_completion_tokens": -1},
        {"stop": [5]},
        {"response_format": {"type": "grammar"}},
        {"repeat_penalty": 0.5},
        {"reasoning_effort": "high"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_would_change_the_answer_and_is_not_understood_is_refused(server: Server, changes: dict[str, Any]) -> None:
    status, body, _ = post(server, {"messages": MESSAGES, "max_tokens": 3} | changes)
    name, error = next(iter(changes)), body["error"]
    assert status == 400 and set(error) == {"message", "type", "param", "code"}
    assert name in error["message"] and "\n" not in error["message"] and error["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"messages": NaN}', '"\\ud800"'])
def test_a_body_that_is_no_request_is_refused(server: Server, body: str) -> None:
    status, answer, _ = post(server, body)
    assert status == 400 and answer["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_conversation_that_does_not_fit_is_refused_with_its_size(client: openai.OpenAI, stream: bool) -> None:
    long = [{"role": "user", "content": "candle " * 3000}]
    with pytest.raises(openai.BadRequestError, match="context is 2,048") as error:
        ask(client, messages=long, stream=stream)
    assert error.value.code == "context_length_exceeded"
    assert text_of(ask(client))


def endless(client: openai.OpenAI) -> int:
    """A seed with which the model of random weights writes on to its limit."""
    seeds = (seed for seed in range(50) if ask(client, **LONG, seed=seed).choices[0].finish_reason == "length")
    return next(seeds)


def abandon(server: Server, body: dict[str, Any]) -> None:
    """Send a request and hang up once the model works on it."""
    content = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        connection.sendall(content)
        until(lambda: bool(server.model._pending))


def until(condition: Any, seconds: float = 30.0) -> None:
    """Wait until something is the case."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_written_for_clients_that_have_gone(server: Server, client: openai.OpenAI, stream: bool) -> None:
    seed = endless(client)
    began = time.monotonic()
    ask(client, **LONG, seed=seed)
    whole, process = time.monotonic() - began, server.model.process
    for _ in range(4):
        abandon(server, {"messages": MESSAGES, "stream": stream, "seed": seed} | LONG)
        until(lambda: not server.model._pending)
    began = time.monotonic()
    assert ask(client).usage.completion_tokens == 12
    assert time.monotonic() - began < whole / 2
    assert server.model.process is process


def test_a_reader_who_leaves_stops_the_answer(server: Server, client: openai.OpenAI) -> None:
    stream = ask(client, stream=True, **LONG, seed=endless(client))
    next(iter(stream))
    stream.close()
    until(lambda: not server.model._pending)
    assert ask(client).usage.completion_tokens == 12


def test_a_client_that_waits_and_leaves_is_passed_over(server: Server, client: openai.OpenAI) -> None:
    seed = endless(client)
    with ask(client, stream=True, **LONG, seed=seed) as stream:
        next(iter(stream))
        with pytest.raises(TimeoutError):
            post_briefly(server, {"messages": MESSAGES, "seed": seed} | LONG)
        until(lambda: not server.model._turn._waiters)
        assert len(server.model._pending) <= 1
    assert ask(client).usage.completion_tokens == 12


def post_briefly(server: Server, body: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.05)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        connection.getresponse()
    finally:
        connection.close()


def test_readers_at_once_get_what_one_gets_in_the_order_they_came(server: Server, client: openai.OpenAI) -> None:
    alone, seed, order = text_of(ask(client)), endless(client), list[int]()
    answers: dict[int, str] = {}

    def read(number: int) -> None:
        answers[number] = text_of(ask(client))
        order.append(number)

    with ask(client, stream=True, **LONG, seed=seed) as stream:
        next(iter(stream))
        threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda: len(server.model._turn._waiters or ()) > number or number in answers)  # noqa: B023
        stream.close()
    for thread in threads:
        thread.join()
    assert [answers[number] for number in range(3)] == [alone] * 3 and order == [0, 1, 2]


def test_a_reader_that_does_not_read_holds_up_no_other(server: Server, client: openai.OpenAI) -> None:
    with ask(client, stream=True, **LONG, seed=endless(client)) as stream:
        next(iter(stream))
        assert ask(client).usage.completion_tokens == 12  # while the first one is not read on


@pytest.mark.parametrize("stream", [True, False])
def test_a_crash_costs_one_answer_and_not_the_server(server: Server, client: openai.OpenAI, stream: bool) -> None:
    seed, expected = endless(client), text_of(ask(client))

    def crash() -> None:
        until(lambda: any(p.events.qsize() or stream for p in server.model._pending.values()))
        assert server.model.process
        os.kill(server.model.process.pid, signal.SIGSEGV)

    with pytest.raises(openai.APIError, match=r"its process ended \(SIGSEGV\)") as error:
        killer = threading.Thread(target=crash)
        if not stream:
            killer.start()
            ask(client, **LONG, seed=seed)
        for number, _ in enumerate(ask(client, stream=True, **LONG, seed=seed)):
            if number == 0:
                killer.start()
    killer.join()
    if not stream:
        assert isinstance(error.value, openai.InternalServerError) and error.value.status_code == 503
    assert text_of(ask(client)) == expected
    assert server.model.broken is None


def test_a_model_that_falls_silent_is_ended_and_started_again(gguf: Path) -> None:
    server = Server(Model(gguf), 0)
    try:
        with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            expected = text_of(ask(client))
            for content in ("Why?", "candle " * 30_000):  # less and more than a pipe takes
                assert server.model.process
                os.kill(server.model.process.pid, signal.SIGSTOP)
                server.model.idle_seconds = 0.3
                with pytest.raises(openai.InternalServerError, match=r"no activity for 0\.3 s"):
                    ask(client, messages=[{"role": "user", "content": content}])
                server.model.idle_seconds = 60
                assert text_of(ask(client)) == expected
    finally:
        server.close()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/chat/completions", {"Host": "evil.example"}, 404),
        ("/v1/chat/completions", {"Host": "evil.example:{port}"}, 404),
        ("/v1/chat/completions", {"Host": "127.0.0.1"}, 404),
        ("/v1/chat/completions", {"Origin": "https://evil.example"}, 403),
        ("/v1/chat/completions", {"Origin": "http://localhost.evil.example"}, 403),
        ("/v1/chat/completions", {"Origin": "null"}, 403),
        ("/v1/chat/completions", {"Origin": "http://["}, 403),
        ("/v1/chat/completions", {"Origin": "http://localhost@evil.example"}, 403),
        ("/v1/chat/completions", {"Content-Type": "text/plain"}, 415),
        ("/v1/chat/completions", {"Content-Length": "900000000"}, 413),
        ("/v1/models", {}, 405),
        ("/v1/embeddings", {}, 404),
    ],
)
def test_a_web_page_cannot_use_the_server(server: Server, path: str, headers: dict[str, str], status: int) -> None:
    changes = {name: value.format(port=server.port) for name, value in headers.items()}
    answered, body, sent = post(server, {"messages": MESSAGES, "max_tokens": 1}, path, **changes)
    assert answered == status and body["error"]["message"]
    assert not [name for name in sent if name.lower().startswith("access-control")]


def test_no_consent_is_given_to_a_page_that_asks_first(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    connection.request("OPTIONS", "/v1/chat/completions", headers=headers)
    response = connection.getresponse()
    assert response.status == 405 and json.loads(response.read())["error"]["message"]
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    connection.close()


def test_a_page_of_this_machine_may_use_the_server_under_both_its_names(server: Server) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST"):
        headers = {"Host": f"{name}:{server.port}", "Origin": f"http://{name}:3000"}
        status, _, sent = post(server, {"messages": MESSAGES, "max_tokens": 1}, **headers)
        assert status == 200 and not [key for key in sent if key.lower().startswith("access-control")]


def test_a_token_keeps_other_programs_out(gguf: Path) -> None:
    server = Server(Model(gguf), 0, token="secret")
    try:
        for key in ("any", "secre", "secret2"):
            client = openai.OpenAI(base_url=server.url, api_key=key, max_retries=0)
            with client, pytest.raises(openai.AuthenticationError, match="only the program that started"):
                client.models.list()
        with openai.OpenAI(base_url=server.url, api_key="secret", max_retries=0) as client:
            assert text_of(ask(client))
    finally:
        server.close()


def test_closing_the_server_ends_what_is_written_and_what_waits(gguf: Path) -> None:
    server, failures = Server(Model(gguf), 0), list[str]()

    def read() -> None:
        with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            try:
                ask(client, **LONG, seed=3)
            except openai.APIError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: server.model._pending and len(server.model._turn._waiters or ()) == 2)
    began = time.monotonic()
    server.close()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 10 and server.model.process is None and failures


def test_only_this_machine_is_listened_to(server: Server) -> None:
    assert server._socket.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_and_a_file_that_is_none_are_named(server: Server, gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(server.port)):
        Server(Model(gguf), server.port)
    with pytest.raises(ConfigError, match=r"gone\.gguf does not exist"):
        Model(tmp_path / "gone.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        Model(tmp_path / "bad.gguf")
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:20_000])
    cut = Server(Model(tmp_path / "cut.gguf"), 0)
    with pytest.raises(WorkerFailed, match=r"cut\.gguf does not answer"):
        cut.run(cut.model.load())
    cut.close()
