"""Find the channel and the talks that a verb names."""

from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from understudy.channel import lease
from understudy.channel.ledger import Ledger, Row
from understudy.database import URL_FILE
from understudy.errors import UnderstudyError
from understudy.text import words

NO_NAME = "is not a channel name: use lower-case letters, digits and hyphens"


def option(p: ArgumentParser, about: str = "a folder under data/") -> None:
    """Add the required option --channel."""
    p.add_argument("--channel", required=True, metavar="NAME", help=about)


def checked(channel: str) -> str:
    """The unchanged name. Raises UnderstudyError when it is not valid for a channel."""
    if words.slug(channel) != channel:
        raise UnderstudyError(f"{channel!r} {NO_NAME}")
    return channel


def names(home: Path) -> list[str]:
    """Every channel with a ledger."""
    return sorted({f.parent.name for name in ("ledger.sqlite", URL_FILE) for f in (home / "data").glob(f"*/{name}")})


def folder(home: Path, channel: str) -> Path:
    """data/<channel>. Raises UnderstudyError with the channels there are."""
    if channel not in (known := names(home)):
        raise UnderstudyError(
            f"no channel {channel!r} under {home / 'data'}; there are: {', '.join(known) or 'none yet'}"
        )
    return home / "data" / channel


def ledger(folder: Path) -> Ledger:
    """Open the ledger of a channel's folder."""
    return Ledger(folder / "ledger.sqlite")


def locked(folder: Path) -> AbstractContextManager[object]:
    """Hold the channel's lock inside the block, so that no one else writes to it. Raises Busy."""
    return lease.alone(folder)


def rows(ledger: Ledger, ids: Sequence[str]) -> list[Row]:
    """The rows of these talks. Raises UnderstudyError with those that are missing."""
    matches = [ledger.get(name) for name in ids]
    if missing := [name for name, row in zip(ids, matches, strict=True) if row is None]:
        raise UnderstudyError(f"no talk {', '.join(map(repr, missing))} in {ledger.file}; see `understudy status`")
    return [row for row in matches if row]
