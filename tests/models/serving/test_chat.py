"""Laws of the chat, typed into a real process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.serving import NOTICE

TALK = """
import sys
from pathlib import Path
from understudy.serving import Sampling
from understudy.serving.chat import chat
sys.exit(chat(Path(sys.argv[1]), Sampling(temperature=1.0, seed=3), int(sys.argv[2])))
"""


def _hear_ctrl_c() -> None:
    """What a shell does for a program in front; one in the background starts its programs deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(gguf: Path, max_tokens: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TALK, str(gguf), str(max_tokens)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_hear_ctrl_c,  # noqa: PLW1509  # it only sets a signal
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def until(talk: "subprocess.Popen[str]", mark: str) -> None:
    """Read the output up to `mark`."""
    assert talk.stdout and talk.stderr
    text = ""
    while not text.endswith(mark):
        letter = talk.stdout.read(1)
        assert letter, talk.stderr.read()
        text += letter


def test_a_chat_says_once_that_ai_answers_and_ends_at_the_end_of_the_input(gguf: Path) -> None:
    out, errors = begin(gguf, 8).communicate("Why?\n/new\n/what\n\nWhy?\n", timeout=120)
    assert errors == "" and out.count(NOTICE) == 1
    assert "(a new conversation)" in out and "/what is not a command" in out
    answers = [part.partition("\n(cut off at the limit)")[0] for part in out.split("> ") if "(cut off" in part]
    assert len(answers) == 2 and answers[0] == answers[1] != ""


def test_ctrl_c_stops_the_answer_and_not_the_chat(gguf: Path) -> None:
    for _ in range(5):  # a model of random weights may end its answer before the signal arrives
        talk = begin(gguf, 1900)
        assert talk.stdin and talk.stdout
        talk.stdin.write("Why does a candle burn?\n")
        talk.stdin.flush()
        until(talk, "> ")
        assert talk.stdout.read(1)  # the answer has begun
        os.kill(talk.pid, signal.SIGINT)
        out, errors = talk.communicate("/quit\n", timeout=120)
        assert talk.returncode == 0 and errors == ""
        if "(stopped)" in out:
            return
    pytest.fail("no answer was stopped")


def test_ctrl_c_at_the_prompt_ends_the_chat(gguf: Path) -> None:
    talk = begin(gguf, 8)
    assert talk.stdout
    until(talk, "> ")
    os.kill(talk.pid, signal.SIGINT)
    assert talk.communicate(timeout=60)[1] == ""
    assert talk.returncode == 0


def test_a_long_chat_forgets_its_oldest_turn_and_goes_on(gguf: Path) -> None:
    long = "candle " * 220
    out, _ = begin(gguf, 8).communicate(f"{long}\n{long}\n{long}\n{'candle ' * 2000}\nWhy?\n", timeout=120)
    assert "the oldest question and its answer were dropped" in out
    assert "start a new one with /new" in out
    assert out.count("(cut off at the limit)") == 4
