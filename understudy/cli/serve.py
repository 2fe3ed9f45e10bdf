"""Serve a tuned model to other programs over OpenAI's API, on 127.0.0.1.

Without MODEL: the newest channel. Of a channel its champion, else its newest run; of a run its smallest file. Answers
are written by AI; Ctrl-C ends.
"""

from argparse import ArgumentParser, Namespace

from understudy.cli import chat
from understudy.runs import find

EXAMPLE = "understudy serve my-channel --port 8080"
JSON = False


def options(p: ArgumentParser) -> None:
    chat.options(p)
    p.add_argument("--port", type=int, default=8080, help="on 127.0.0.1 (default: 8080; 0: any free one)")


def main(args: Namespace) -> int:
    """Serve until Ctrl-C."""
    from understudy.serving.server import serve

    gguf = find.gguf(args.home / "models", args.model, args.force)
    return serve(gguf, args.port, retriever=chat.retriever_of(gguf, args.retrieve))
