"""Laws of the server, asked by the real openai client."""

import http.client
import json
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

from understudy.errors import ConfigError, WorkerFailed
from understudy.serving.server import Server, _before

MESSAGES: Any = [{"role": "user", "content": "Why does a candle burn?"}]


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60)


def ask(client: openai.OpenAI, **given: Any) -> Any:
    wanted = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "seed": 1}
    return client.chat.completions.create(**(wanted | given))


def test_the_one_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_a_channels_name_is_enough_and_another_one_is_refused(server: Server, client: openai.OpenAI) -> None:
    known = server._http.name
    try:
        server._http.name = "tea-Q4_K_M"
        assert ask(client, model="tea").choices[0].message.content
        with pytest.raises(openai.NotFoundError, match="only 'tea-Q4_K_M'"):
            ask(client, model="te")
    finally:
        server._http.name = known


def test_a_streamed_answer_says_what_a_whole_one_says(client: openai.OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content != ""
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 12
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens > 12


def test_the_same_prompt_is_not_read_twice(client: openai.OpenAI) -> None:
    ask(client)
    usage = ask(client).usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_a_seed_repeats_an_answer(client: openai.OpenAI) -> None:
    one, other, another = (ask(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (5, 5, 6))
    assert one == other != another


def test_a_stop_text_ends_the_answer_before_it(client: openai.OpenAI) -> None:
    text = ask(client).choices[0].message.content
    stop = text[5:7]
    stopped = ask(client, stop=[stop])
    assert stopped.choices[0].message.content == text[: text.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"


def test_no_piece_of_a_stop_text_is_told() -> None:
    def written() -> Any:
        yield from ["abc", "d", "S", "TO", "x ST", "O", "P", "after"]

    assert "".join(_before(written(), ["STOP", "zz"])) == "abcdSTOx "
    assert "".join(_before(written(), ["nowhere"])) == "abcdSTOx STOPafter"


def test_an_answer_keeps_to_a_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    schema["additionalProperties"] = False
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}
    reply = ask(client, response_format=form, max_tokens=200).choices[0].message.content
    assert json.loads(reply)["yes"] in (True, False)


def test_what_would_change_the_answer_and_is_not_understood_is_refused(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for given in ({"n": 2}, {"tools": [tool]}, {"logprobs": True}, {"messages": []}, {"temperature": -1}):
        with pytest.raises(openai.BadRequestError, match=next(iter(given))):
            ask(client, **given)


@pytest.mark.parametrize("stream", [True, False])
def test_a_conversation_that_does_not_fit_is_refused_with_its_size(client: openai.OpenAI, stream: bool) -> None:
    long = [{"role": "user", "content": "candle " * 3000}]
    with pytest.raises(openai.BadRequestError, match="context is 2,048") as error:
        ask(client, messages=long, stream=stream)
    assert error.value.code == "context_length_exceeded"
    assert ask(client).choices[0].message.content


def test_a_reader_who_leaves_stops_the_answer(client: openai.OpenAI) -> None:
    stream = ask(client, stream=True, max_tokens=2000, temperature=1.0, seed=3)
    next(iter(stream))
    stream.close()
    assert ask(client).usage.completion_tokens == 12


def test_two_readers_get_what_one_gets(client: openai.OpenAI) -> None:
    alone, told = ask(client).choices[0].message.content, []
    threads = [threading.Thread(target=lambda: told.append(ask(client).choices[0].message.content)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [alone] * 3


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/chat/completions", {"Host": "evil.example"}, 404),
        ("/v1/chat/completions", {"Content-Type": "text/plain"}, 415),
        ("/v1/embeddings", {}, 404),
    ],
)
def test_a_web_page_cannot_use_the_server(server: Server, path: str, headers: dict[str, str], status: int) -> None:
    address = server.url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(address, timeout=20)
    body = json.dumps({"messages": MESSAGES, "max_tokens": 1})
    connection.request("POST", path, body, {"Content-Type": "application/json"} | headers)
    response = connection.getresponse()
    assert response.status == status
    assert json.loads(response.read())["error"]["message"]
    connection.close()


def test_only_this_machine_is_listened_to(server: Server) -> None:
    assert server._http.server_address[0] == "127.0.0.1"


def test_a_port_in_use_and_a_file_that_is_none_are_named(server: Server, gguf: Path, tmp_path: Path) -> None:
    port = server._http.server_port
    with pytest.raises(ConfigError, match=str(port)):
        Server(gguf, port)
    with pytest.raises(ConfigError, match=r"gone\.gguf is no file"):
        Server(tmp_path / "gone.gguf", 0)
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        Server(tmp_path / "bad.gguf", 0)
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:20_000])
    with pytest.raises(WorkerFailed, match=r"cut\.gguf does not answer"):
        Server(tmp_path / "cut.gguf", 0)
