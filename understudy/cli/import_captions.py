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
    channels.option(p, "a folder under data/; created if it does not exist")


def main(args: Namespace) -> Result:
    """Copy the files, and give the reason for each one left out."""
    folder: Path = args.home / "data" / channels.checked(args.channel)
    if not args.path.exists():
        raise UnderstudyError(f"there is no file or folder {str(args.path)!r}")
    with channels.locked(folder):
        outcomes = list(imported.bring(args.path.resolve(), folder, PREFIX))
    skipped = {file.name: why for file, why in outcomes if why}
    copied = len(outcomes) - len(skipped)
    lines = [f"left out {name}: {why}" for name, why in skipped.items()]
    then = f"; the next run of {args.channel} reads them" if copied else ""
    lines.append(f"{copied} of {len(outcomes)} files imported{then}")
    return Result("\n".join(lines), {"imported": copied, "left_out": skipped}, status=0 if copied else 1)
