"""Show how many talks are in each state and why, when they are tried next, and how much disk each channel uses."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NamedTuple

from understudy.channel.ledger import Ledger
from understudy.cli import Result, channels
from understudy.runs import clean
from understudy.text import words

EXAMPLE = "understudy status my-channel"


class State(NamedTuple):
    """The talks in one state."""

    talks: int
    next_try: str | None
    reasons: dict[str, int]


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", nargs="?", metavar="NAME", help="a folder under data/ (default: all)")


def main(args: Namespace) -> Result:
    """The state of one channel, or of all."""
    home: Path = args.home
    folders = [channels.folder(home, name) for name in ([args.channel] if args.channel else channels.names(home))]
    lines, data = [] if folders else [f"no channel under {home / 'data'}"], {}
    for folder in folders:
        ledger = channels.ledger(folder)
        states = {state: _state(ledger, state, talks) for state, talks in ledger.counts().items()}
        blocked = ledger.note("blocked_until")
        disk = {part: clean.size(home / part / folder.name) for part in ("data", "models")}
        data[folder.name] = {"talks": {name: state._asdict() for name, state in states.items()}, "disk_bytes": disk}
        lines.append(
            folder.name + (f": the source blocks this machine; next attempt after {blocked}" if blocked else "")
        )
        for name, state in states.items():
            lines.append(
                f"  {name:<16} {state.talks:>6}" + (f"  next attempt {state.next_try}" if state.next_try else "")
            )
            lines += [f"      {talks:>6}  {words.one_line(why, 100)}" for why, talks in state.reasons.items()]
        sizes = ", ".join(f"{part} {clean.megabytes(size)}" for part, size in disk.items())
        lines.append(f"  {'disk':<16} {sizes}")
    return Result("\n".join(lines), data)


def _state(ledger: Ledger, state: str, talks: int) -> State:
    return State(talks, ledger.first_next_try(state), ledger.reasons(state))
