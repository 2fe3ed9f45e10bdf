"""`understudy chat` and `serve`, as typed: real processes, a real client, a real Ctrl-C."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.models.serving.test_chat import _hear_ctrl_c
from tests.unit.runs.test_find import refuse
from understudy.serving import NOTICE

QUESTION: Any = [{"role": "user", "content": "Why does a candle burn?"}]


@pytest.fixture
def home(tmp_path: Path, gguf: Path) -> Path:
    """A home with one run of one channel."""
    folder = tmp_path / "models/candles/0a1b2c3d/gguf"
    folder.mkdir(parents=True)
    shutil.copy(gguf, folder / "candles-Q8_0.gguf")
    return tmp_path


def command(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "understudy", "--home", str(home), *words]


def run(home: Path, *words: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(home, *words), input=typed, capture_output=True, text=True, timeout=120)


@contextmanager
def serving(home: Path, *words: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process and its base URL."""
    process = subprocess.Popen(
        command(home, "serve", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_hear_ctrl_c,  # noqa: PLW1509  # it only sets a signal
        text=True,
    )
    try:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        assert " at http" in line, process.stderr.read()
        assert process.stdout.readline().strip() == NOTICE
        yield process, line.split(" at ")[1].split()[0]
    finally:
        process.kill()
        process.communicate()


def test_a_served_model_answers_whole_and_in_pieces_until_ctrl_c(home: Path) -> None:
    with serving(home, "candles", "--port", "0") as (process, url):
        client = openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60)
        name = next(iter(client.models.list())).id
        ask = {"model": name, "messages": QUESTION, "max_tokens": 8, "temperature": 0}
        whole = client.chat.completions.create(**ask).choices[0].message.content
        chunks = client.chat.completions.create(**ask, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole != ""
        client.close()
        os.kill(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 0


def test_a_name_that_is_not_the_models_is_answered_with_the_one_that_is(home: Path) -> None:
    with serving(home, "candles/0a1b2c3d", "--port", "0") as (_, url):
        client = openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60)
        with pytest.raises(openai.NotFoundError, match="gpt-5.*candles-Q8_0"):
            client.chat.completions.create(model="gpt-5", messages=QUESTION)
        client.close()


def test_a_port_in_use_is_told(home: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1])
        process = run(home, "serve", "--port", port)
    assert process.returncode == 2 and f"port {port} cannot be used" in process.stderr
    assert "65535" in run(home, "serve", "--port", "70000").stderr


def test_a_chat_answers_what_is_typed(home: Path) -> None:
    process = run(home, "chat", "candles", typed="/what\n/quit\n")
    assert process.returncode == 0 and NOTICE in process.stdout and "/what is not a command" in process.stdout


def test_a_reader_of_the_chat_who_leaves_ends_it_quietly(home: Path) -> None:
    talk = subprocess.Popen(
        command(home, "chat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert talk.stdout and talk.stdin and talk.stderr
    talk.stdout.readline()
    talk.stdout.close()
    talk.stdin.write("/new\n/what\n")
    talk.stdin.close()
    assert talk.stderr.read() == "" and talk.wait(timeout=60) == 0
    talk.stderr.close()


@pytest.mark.parametrize("name", ["chat", "serve"])
def test_what_cannot_be_used_is_told_in_one_sentence(home: Path, name: str) -> None:
    file = home / "models/candles/0a1b2c3d/gguf/candles-Q8_0.gguf"
    refuse(file.parents[1], "Q8_0")
    cut = home / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:50_000])
    for words, message in (
        (["candles"], "Q8_0 differs"),
        ([str(cut)], "cut.gguf"),
        (["candels"], "candles"),
        ([str(home / "gone.gguf")], "no file"),
    ):
        process = run(home, name, *words)
        assert process.returncode == 2 and message in process.stderr and "Traceback" not in process.stderr
        assert len(process.stderr.strip().splitlines()) == 1
    assert run(home, "chat", "candles", "--force", typed="/quit\n").returncode == 0


def test_without_a_model_the_way_to_one_is_told(tmp_path: Path) -> None:
    process = run(tmp_path, "chat")
    assert process.returncode == 2 and "understudy run" in process.stderr
