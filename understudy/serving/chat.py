"""A conversation with a GGUF file in the terminal: streamed, stopped by Ctrl-C, nothing stored."""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

from understudy.records import Message
from understudy.serving import NOTICE, REPEAT_PENALTY, Done, Generate, Sampling
from understudy.serving.model import Model, RequestRefused
from understudy.serving.retrieve import Retriever

LOOP_CHARACTERS, LOOP_TIMES = range(16, 401), 3
"""How long a passage is, and how often it must follow itself, to be a loop: a small model would go on to the limit."""
HELP = "Ctrl-C stops an answer (and ends at the prompt), /new begins a new conversation, /quit ends."
NOTES = {
    "length": "\n(cut off at the limit)\n",
    "loop": "\n(stopped: it began to repeat itself; a larger base, or a shorter question, helps)\n",
}
"""How an answer ended > what is said about it."""


def chat(
    gguf: Path,
    sampling: Sampling | None = None,
    max_tokens: int = 2048,
    context: int | None = None,
    retriever: Retriever | None = None,
) -> int:
    """Talk until /quit or the end of the input; returns the exit status. Raises ConfigError, WorkerFailed.

    With a `retriever` every question comes with passages and stands alone, as in training.
    """
    model, sampling = Model(gguf, context), sampling or Sampling(repeat_penalty=REPEAT_PENALTY)
    messages: list[Message] = []
    with asyncio.Runner() as runner:
        try:
            print(f"{NOTICE}\n{HELP}\n", flush=True)
            runner.run(model.load())
            while (line := _line()) is not None:
                if line == "/quit":
                    break
                if line == "/new":
                    messages = []
                    print("(a new conversation)", flush=True)
                elif line.startswith("/"):
                    print(f"{line.split()[0]} is not a command. {HELP}", flush=True)
                elif line and retriever:
                    _from_texts(runner, model, retriever, line, sampling, max_tokens)
                elif line:
                    messages = [*messages, Message(role="user", content=line)]
                    messages = _turn(runner, model, messages, sampling, max_tokens)
        except KeyboardInterrupt:
            print()
        except BrokenPipeError:  # the reader has left; Python would complain once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            model.close()
    return 0


def _line() -> str | None:
    """The next line of input; None at its end."""
    try:
        return input("> ").strip()
    except EOFError:
        print()
        return None


def _from_texts(
    runner: asyncio.Runner, model: Model, retriever: Retriever, question: str, sampling: Sampling, max_tokens: int
) -> None:
    """One question with its passages: what was found, the answer, and what that cites."""
    passages = retriever.find(question)
    for passage in passages:
        print(f"  · {' › '.join([passage.title, *passage.heading])}", flush=True)
    if not passages:
        print("  (no passage shares a word with this question, so there is nothing to answer from)\n", flush=True)
        return
    messages = _turn(runner, model, retriever.prompt(question, passages), sampling, max_tokens)
    if messages and (note := retriever.marked(messages[-1].content, passages)):
        print(f"  ({note})\n", flush=True)


def _turn(
    runner: asyncio.Runner, model: Model, messages: list[Message], sampling: Sampling, max_tokens: int
) -> list[Message]:
    """The conversation after one more answer; its oldest turns are dropped when it no longer fits."""
    pieces: list[str] = []
    while True:
        request = Generate(prompt=messages, sampling=sampling, max_tokens=max_tokens)
        try:
            finish = runner.run(_write(model, request, pieces))
        except RequestRefused as reason:
            if sum(message.role == "user" for message in messages) == 1:
                print(f"({reason}; this conversation has ended, start a new one with /new)", flush=True)
                return []
            messages = messages[2:]
            print("(the oldest question and its answer were dropped: the conversation no longer fits)", flush=True)
            continue
        except KeyboardInterrupt:
            print("\n(stopped)", flush=True)
        else:
            print(NOTES.get(finish, "\n"), flush=True)
        return [*messages, Message(role="assistant", content="".join(pieces).strip())]


async def _write(model: Model, request: Generate, pieces: list[str]) -> str:
    """Print the answer, and add its pieces to `pieces`; returns how it ended."""
    async with aclosing(model.generate(request)) as answer:
        async for piece in answer:
            if isinstance(piece, Done):
                return piece.finish
            pieces.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
            if repeats("".join(pieces[-LOOP_CHARACTERS.stop * LOOP_TIMES :])):
                return "loop"
    raise AssertionError("every answer ends with Done")


def repeats(text: str) -> bool:
    """Whether `text` ends in one passage of words, three times in a row."""
    return any(_repeats(text, length) for length in LOOP_CHARACTERS)


def _repeats(text: str, length: int) -> bool:
    passage = text[-length:]
    return (
        text[-2 * length : -length] == passage  # the rest only where this holds: it runs after every piece
        and text.endswith(passage * LOOP_TIMES)
        and sum(character.isalpha() for character in passage) > length // 2
    )
