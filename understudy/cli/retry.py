"""Request talks again in the next run, whatever their state."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from understudy.cli import Result, channels

EXAMPLE = "understudy retry dQw4w9WgXcQ --channel my-channel"


def options(p: ArgumentParser) -> None:
    p.add_argument("ids", nargs="+", metavar="ID", help="a talk: a folder under data/NAME/documents, a video id")
    channels.option(p)


def main(args: Namespace) -> Result:
    """Make the talks due."""
    folder = channels.folder(args.home, args.channel)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with channels.locked(folder):
        ledger = channels.ledger(folder)
        rows = channels.rows(ledger, args.ids)
        pending = [row._replace(status="pending", attempts=0, next_try=now) for row in rows if row.status != "ok"]
        for row in pending:
            ledger.record(row)
    lines = [
        f"{row.document_id}: {'already fetched' if row.status == 'ok' else 'tried again in the next run'}"
        for row in rows
    ]
    return Result("\n".join(lines), {"retried": [row.document_id for row in pending]})
