"""A conversation with a GGUF file in the terminal: streamed, stopped by Ctrl-C, nothing kept."""

import os
import sys
from contextlib import closing
from pathlib import Path

from understudy.serving import NOTICE, Asked, LocalChat, TooLong

HELP = "Ctrl-C stops an answer (and ends at the prompt), /new begins a new conversation, /quit ends."


def chat(gguf: Path, system: str | None = None, asked: Asked | None = None, context: int | None = None) -> int:
    """Talk until /quit or the end of the input; returns the exit status. Raises ConfigError, WorkerFailed.

    Give `system` only when the model was trained with that system message.
    """
    model, asked = LocalChat(gguf, context), asked or Asked()
    first = [{"role": "system", "content": system}] if system else []
    messages = list(first)
    try:
        print(f"{NOTICE}\n{HELP}\n", flush=True)
        model.start()
        while (said := _line()) is not None:
            if said == "/quit":
                break
            if said == "/new":
                messages = list(first)
                print("(a new conversation)", flush=True)
            elif said.startswith("/"):
                print(f"{said.split()[0]} is no command. {HELP}", flush=True)
            elif said:
                messages = _turn(model, messages, len(first), said, asked)
    except KeyboardInterrupt:
        print()
    except BrokenPipeError:  # whoever read along has left; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        model.close()
    return 0


def _line() -> str | None:
    """What is typed; None at the end of the input."""
    try:
        return input("> ").strip()
    except EOFError:
        print()
        return None


def _turn(
    model: LocalChat, messages: list[dict[str, str]], kept: int, question: str, asked: Asked
) -> list[dict[str, str]]:
    """The conversation after one more answer; its oldest turns are forgotten when it no longer fits."""
    messages = [*messages, {"role": "user", "content": question}]
    while True:
        said = ""
        try:
            with closing(model.answer(messages, asked)) as pieces:
                for piece in pieces:
                    said += piece
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except TooLong as reason:
            if len(messages) <= kept + 1:
                print(f"({reason})", flush=True)
                return messages[:kept]
            del messages[kept : kept + 2]
            print("(the oldest question and its answer are forgotten: the conversation no longer fits)", flush=True)
            continue
        except KeyboardInterrupt:
            print("\n(stopped)", flush=True)
        else:
            cut = model.ended is not None and model.ended.finish == "length"
            print("\n(cut off at the limit)\n" if cut else "\n", flush=True)
        return [*messages, {"role": "assistant", "content": said.strip()}]
