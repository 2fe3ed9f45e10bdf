"""Make the champion before this one the champion again; repeat to go further back."""

from argparse import ArgumentParser, Namespace

from understudy.cli import Result, channels
from understudy.runs import champion

EXAMPLE = "understudy rollback my-channel"


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", metavar="NAME", help="a folder under models/")
    p.add_argument("--to", metavar="RUN", help="use this run instead, a folder under models/NAME")


def main(args: Namespace) -> Result:
    """Change the champion."""
    change = champion.rollback(args.home / "models" / channels.checked(args.channel), args.to)
    text = f"{args.channel} uses {change.run} from now on instead of {change.before or 'the newest run'}"
    return Result(text, {"champion": change.run, "before": change.before})
