"""Delete talks and everything made from them, permanently; without an ID the whole channel."""

import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from understudy.channel import forgetting
from understudy.cli import Result, channels, confirmed
from understudy.errors import UnderstudyError
from understudy.runs import champion

EXAMPLE = "understudy forget dQw4w9WgXcQ --channel my-channel"


def options(p: ArgumentParser) -> None:
    p.add_argument(
        "ids",
        nargs="*",
        metavar="ID",
        help="a talk, as `understudy status` shows it (default: every talk of the channel)",
    )
    about = "a folder under data/ (default: the only one); without an ID all of it is deleted, and it must be named"
    channels.option(p, about, required=False)
    p.add_argument("--yes", action="store_true", help="do not ask before deleting a whole channel")


def main(args: Namespace) -> Result:
    """Delete, and name the models that may have been trained on the talks."""
    if not args.ids and args.channel is None:
        raise UnderstudyError(
            "name the talks to delete, e.g. understudy forget ID; `understudy status` lists them; or a whole channel "
            "with --channel"
        )
    folder = channels.meant(args.home, args.channel)
    with channels.locked(folder):
        return _forget(args, folder)


def _forget(args: Namespace, folder: Path) -> Result:
    if not args.ids and not args.yes and not confirmed(f"Delete all of {folder}, with its talks and paid replies?"):
        raise UnderstudyError(f"nothing was deleted; to delete all of it: forget --channel {folder.name} --yes")
    ledger = channels.ledger(folder)
    rows = channels.rows(ledger, args.ids) if args.ids else ledger.rows()
    if args.ids:
        forgetting.forget(folder, rows)
    else:
        shutil.rmtree(folder)
    after = "so is its dataset, which the next run builds without them" if args.ids else "nothing of it is left"
    lines = [f"forgotten: {len(rows)} talk{'s' * (len(rows) != 1)} of {folder.name}; {after}"]
    runs = champion.runs(args.home / "models" / folder.name)
    lines += [f"  may have been trained on them, delete it or train again: {run}" for run in runs]
    return Result("\n".join(lines), {"talks": [row.document_id for row in rows], "runs": list(map(str, runs))})
