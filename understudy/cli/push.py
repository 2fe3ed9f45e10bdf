"""Upload a channel's talks and models to s3://, gs:// or file://; what is there already is left alone."""

from argparse import ArgumentParser, Namespace

from understudy import mirror
from understudy.cli import Result
from understudy.runs import champion

EXAMPLE = "understudy push my-channel s3://bucket/understudy"


def options(p: ArgumentParser) -> None:
    """The options of `understudy push` and `pull`."""
    p.add_argument("channel", metavar="NAME", help="a folder under data/")
    p.add_argument("url", metavar="URL", help="e.g. s3://bucket/understudy; keys are found as s3fs and gcsfs do it")


def main(args: Namespace) -> Result:
    """Upload, or download for the verb `pull`."""
    text = mirror.told(args.verb, args.home, args.channel, args.url)
    champion.restore(args.home / "models" / args.channel)
    return Result(text, {"channel": args.channel, "url": args.url})
