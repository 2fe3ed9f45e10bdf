"""Upload a channel's talks and models to s3://, gs:// or file://; files that are already there are skipped."""

from argparse import ArgumentParser, Namespace

from understudy.channel import lease, transfer
from understudy.cli import Result
from understudy.cli.channels import checked
from understudy.runs import champion

EXAMPLE = "understudy push my-channel s3://bucket/understudy"
NOT_APART = "Nothing prevents two machines from pushing at once: the channel's ledger is not in PostgreSQL."


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", metavar="NAME", help="a folder under data/")
    p.add_argument(
        "url", metavar="URL", help="e.g. s3://bucket/understudy; credentials are found as s3fs and gcsfs do it"
    )


def main(args: Namespace) -> Result:
    """Upload, or download for the verb `pull`."""
    channel = checked(args.channel)
    with lease.alone(args.home / "data" / channel) as held:
        if args.verb == "push":
            done = transfer.push(args.home, channel, args.url, held)
        else:
            done = transfer.pull(args.home, channel, args.url)
    champion.restore(args.home / "models" / channel)
    text = f"{channel}: {done}" if held else f"{channel}: {done}\n{NOT_APART}"
    return Result(text, {"channel": channel, "url": args.url})
