"""Write the replies of a channel's teacher to a file for the teacher `replay`."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from understudy.calls import recording
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, RECORDING
from understudy.cli import Result, channels

EXAMPLE = "understudy record replies.jsonl --channel my-channel"


def options(p: ArgumentParser) -> None:
    p.add_argument("file", type=Path, metavar="FILE", help="where to, e.g. replies.jsonl")
    channels.option(p, "a folder under data/ whose teacher was called")


def main(args: Namespace) -> Result:
    """Write the file."""
    folder = channels.folder(args.home, args.channel)
    with channels.locked(folder):
        ledger = CallLedger(folder / CALLS)
        count = recording.record(ledger, args.file, **json.loads(ledger.note(RECORDING) or "{}"))
    play = f"--set 'teacher={{use: replay, file: {args.file}}}'"
    return Result(f"{count} replies in {args.file}; replay them with: {play}", {"replies": count})
