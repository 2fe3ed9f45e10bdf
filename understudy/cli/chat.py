"""Talk to a tuned model in the terminal.

Without MODEL: the newest channel. Of a channel its champion, else its newest run; of a run its smallest file. Answers
are written by AI; Ctrl-C ends.
"""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.runs import find

if TYPE_CHECKING:
    from understudy.serving.retrieve import Retriever

EXAMPLE = "understudy chat my-channel"
JSON = False


def options(p: ArgumentParser) -> None:
    p.add_argument("model", nargs="?", metavar="MODEL", help="NAME of a channel, NAME/RUN, RUN or a GGUF file")
    p.add_argument(
        "--retrieve",
        action=BooleanOptionalAction,
        help="show the model passages of the channel's texts with each question (default: where it was tuned for that)",
    )
    p.add_argument("--force", action="store_true", help="also a file that the parity check refused")


def main(args: Namespace) -> int:
    """Talk until /quit or the end of the input."""
    from understudy.serving.chat import chat

    gguf = find.gguf(args.home / "models", args.model, args.force)
    return chat(gguf, retriever=retriever_of(gguf, args.retrieve))


def retriever_of(gguf: Path, wanted: bool | None) -> "Retriever | None":
    """What finds passages for its questions, where that is `wanted`; None: where the model was tuned for it."""
    from understudy.serving import retrieve

    wanted = retrieve.answers_from_texts(gguf) if wanted is None else wanted
    return retrieve.retriever(gguf) if wanted else None
