"""Talk to a tuned model in the terminal.

Without MODEL: the newest channel. Of a channel its champion, else its newest run; of a run its smallest file. Answers
are written by AI; Ctrl-C ends.
"""

from argparse import ArgumentParser, Namespace

from understudy.runs import find

EXAMPLE = "understudy chat my-channel"
JSON = False


def options(p: ArgumentParser) -> None:
    p.add_argument("model", nargs="?", metavar="MODEL", help="NAME of a channel, NAME/RUN, RUN or a GGUF file")
    p.add_argument("--force", action="store_true", help="also a file that the parity check refused")


def main(args: Namespace) -> int:
    """Talk until /quit or the end of the input."""
    from understudy.serving.chat import chat

    return chat(find.gguf(args.home / "models", args.model, args.force))
