"""Serve one local page with every pair of a channel, to reject, restore and edit them.

Decisions are stored in decisions.jsonl, survive every run, override the gates, and are applied by the next run.
"""

from argparse import ArgumentParser, Namespace

from understudy.cli import channels

EXAMPLE = "understudy review my-channel"
JSON = False


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", metavar="NAME", help="a folder under data/ that has a dataset")


def main(args: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from understudy.web.review.server import review

    return review(channels.folder(args.home, args.channel).parent, args.channel)
