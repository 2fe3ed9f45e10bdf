"""Copy caption files into a YouTube channel; the next run reads them instead of asking YouTube.

A file is named by its video (ID.en.vtt, or Title [ID].en.vtt), for example by yt-dlp on a machine whose address is
not blocked.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from understudy.channel import imported
from understudy.cli import Result, channels
from understudy.errors import UnderstudyError
from understudy.sources.youtube import PREFIX

EXAMPLE = "understudy import captions/ --channel my-channel"


def options(p: ArgumentParser) -> None:
    p.add_argument("path", type=Path, metavar="PATH", help="a folder, or one file (vtt, srt, json3, xml)")
    p.add_argument("--language", action="append", default=[], metavar="CODE",
                   help="of several files for a video take this one; may be repeated (default: as spoken)")  # fmt: skip
    p.add_argument("--dry-run", action="store_true", help="show what would go where, and copy nothing")
    channels.option(p, "a folder under data/; created if it does not exist")


def main(args: Namespace) -> Result:
    """Copy the files, and give the reason for each one left out."""
    folder: Path = args.home / "data" / channels.checked(args.channel)
    if not args.path.exists():
        raise UnderstudyError(f"there is no file or folder {str(args.path)!r}")
    path = args.path.resolve()
    if args.dry_run:
        outcomes = list(imported.bring(path, folder, PREFIX, args.language, dry_run=True))
    else:
        with channels.locked(folder):
            outcomes = list(imported.bring(path, folder, PREFIX, args.language))
    skipped = {one.file.name: one.why for one in outcomes if one.why}
    taken = {one.file.name: one.target.name for one in outcomes if one.target}
    lines = [f"left out {name}: {why}" for name, why in skipped.items()]
    if args.dry_run:
        lines = [f"{name} > {folder / 'imported' / target}" for name, target in taken.items()] + lines
        lines.append(f"{len(taken)} of {len(outcomes)} files would be imported; nothing was copied")
    else:
        then = f"; the next run of {args.channel} reads them" if taken else ""
        lines.append(f"{len(taken)} of {len(outcomes)} files imported{then}")
    return Result("\n".join(lines), {"imported": len(taken), "left_out": skipped}, status=0 if taken else 1)
