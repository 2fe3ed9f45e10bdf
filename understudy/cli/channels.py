"""Find the channel and the talks that a verb names."""

import difflib
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


def option(p: ArgumentParser, about: str = "a folder under data/", required: bool = True) -> None:
    """Add the option --channel."""
    p.add_argument("--channel", required=required, metavar="NAME", help=about)


def checked(channel: str) -> str:
    """The unchanged name. Raises UnderstudyError when it is not valid for a channel."""
    if words.slug(channel) != channel:
        raise UnderstudyError(f"{channel!r} {NO_NAME}")
    return channel


def names(home: Path) -> list[str]:
    """Every channel with a ledger."""
    return sorted({f.parent.name for name in ("ledger.sqlite", URL_FILE) for f in (home / "data").glob(f"*/{name}")})


def folder(home: Path, channel: str) -> Path:
    """data/<channel>. Raises UnderstudyError with the nearest name and the channels there are."""
    if channel not in (known := names(home)):
        near = difflib.get_close_matches(words.slug(channel), known, n=1)
        maybe = f"did you mean {near[0]}? " if near else ""
        raise UnderstudyError(
            f"no channel {channel!r} under {home / 'data'}; {maybe}there are: {', '.join(known) or 'none yet'}"
        )
    return home / "data" / channel


def meant(home: Path, channel: str | None) -> Path:
    """The folder of `channel`; without a name that of the only one there is. Raises UnderstudyError."""
    known = names(home)
    if channel is None and len(known) != 1:
        some = f"name one with --channel: {', '.join(known)}" if known else f"there is none under {home / 'data'}"
        raise UnderstudyError(f"which channel? {some}")
    return folder(home, channel or known[0])


def ledger(folder: Path) -> Ledger:
    """Open the ledger of a channel's folder."""
    return Ledger(folder / "ledger.sqlite")


def locked(folder: Path) -> AbstractContextManager[object]:
    """Hold the channel's lock inside the block, so that no one else writes to it. Raises Busy."""
    return lease.alone(folder)


def rows(ledger: Ledger, ids: Sequence[str]) -> list[Row]:
    """The rows of these talks, by id, file or title as `status` shows them. Raises UnderstudyError with the nearest."""
    every = ledger.rows()
    matches = {name: _matching(name, every) for name in ids}
    problems = [_unclear(name, of, every) for name, of in matches.items() if len(of) != 1]
    if problems:
        raise UnderstudyError(f"{'; '.join(problems)}; `understudy status {ledger.file.parent.name}` lists them")
    return list(dict.fromkeys(of[0] for of in matches.values()))


def _matching(name: str, every: Sequence[Row]) -> list[Row]:
    """The talk with this id; else those with this title, file or address, or this beginning of an id."""
    exact = [row for row in every if row.document_id == name]
    called = [row for row in every if name.casefold() in (row.title.casefold(), row.locator.casefold())]
    slug = words.slug(name)
    return exact or called or [row for row in every if slug and row.document_id.casefold().startswith(slug)]


def _unclear(name: str, matches: Sequence[Row], every: Sequence[Row]) -> str:
    if matches:
        return f"{name!r} may be {' or '.join(row.document_id for row in matches[:5])}"
    ids = {row.document_id.casefold(): row.document_id for row in every}
    near = difflib.get_close_matches(words.slug(name) or name, list(ids), n=1, cutoff=0.5)
    return f"no talk {name!r}" + (f"; did you mean {ids[near[0]]}?" if near else "")
