"""Delete the heavy files (fused model, GGUF files, checkpoints) of all but the newest runs of each channel.

Adapters, records, scorecards and reports stay. Champions and published runs keep everything. Rows kept for runs that
are gone (data/NAME/dataset@DIGEST) go too.
"""

from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path

from understudy.cli import Result, channels, confirmed
from understudy.errors import UnderstudyError
from understudy.runs import clean, snapshots
from understudy.runs.clean import Heavy, megabytes

EXAMPLE = "understudy clean --keep 3 --dry-run"


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", nargs="?", metavar="NAME", help="a folder under models/ (default: all)")
    p.add_argument(
        "--keep", type=int, default=3, metavar="N", help="number of newest runs to keep complete (default: 3)"
    )
    p.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    p.add_argument("--yes", action="store_true", help="do not ask")


def main(args: Namespace) -> Result:
    """Show what can be deleted, and delete it after confirmation."""
    if args.keep < 0:
        raise UnderstudyError(f"--keep is {args.keep}; keep 0 runs or more")
    names = [args.channel] if args.channel else _channels(args.home)
    heavy = [item for name in names for item in _old(args.home, name, args.keep)]
    total = megabytes(sum(item.bytes for item in heavy))
    lines = [f"{item.run.parent.name}/{item.run.name}: {megabytes(item.bytes)} ({_inside(item)})" for item in heavy]
    if not heavy:
        return Result("nothing to delete", _data([], args))
    if args.dry_run:
        return Result("\n".join([*lines, f"{total} would be deleted"]), _data(heavy, args))
    if not args.yes and not confirmed("\n".join([*lines, f"Delete {total}?"])):
        raise UnderstudyError("nothing was deleted; use --yes to delete without confirmation")
    for name in names:
        data = args.home / "data" / name
        with channels.locked(data) if data.is_dir() else nullcontext():
            # Once more inside the lock: a run that ended during the confirmation may have changed the champion.
            chosen = {item.run for item in heavy}
            clean.delete(item for item in _old(args.home, name, args.keep) if item.run in chosen)
    return Result("\n".join([*lines, f"{total} deleted"]), _data(heavy, args))


def _old(home: Path, channel: str, keep: int) -> list[Heavy]:
    """What can be deleted of a channel: of its old runs, and rows that no run was trained on."""
    unused = [Heavy(folder, [folder], clean.size(folder)) for folder in snapshots.unused(home, channel)]
    return clean.old_files(_folder(home, channel), keep) + unused


def _channels(home: Path) -> list[str]:
    folders = [*(home / "models").glob("[!.]*"), *(kept.parent for kept in home.glob(f"data/*/{snapshots.PREFIX}*"))]
    return sorted({folder.name for folder in folders if folder.is_dir() and folder.name != "bases"})


def _folder(home: Path, channel: str) -> Path:
    if channel not in (known := _channels(home)):
        raise UnderstudyError(
            f"no models of {channel!r} under {home / 'models'}; there are: {', '.join(known) or 'none'}"
        )
    return home / "models" / channel


def _inside(heavy: Heavy) -> str:
    return ", ".join(p.relative_to(heavy.run).as_posix() if p != heavy.run else "rows of no run" for p in heavy.paths)


def _data(heavy: list[Heavy], args: Namespace) -> dict[str, object]:
    runs = {f"{item.run.parent.name}/{item.run.name}": item.bytes for item in heavy}
    return {"bytes": runs, "deleted": bool(heavy) and not args.dry_run}
