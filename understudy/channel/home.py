"""
home.json: the format of a home folder, so that no program reads what it does not know.

Formats: 1 since 0.2.0. A folder that 0.1.0 filled has no home.json.
"""

from pathlib import Path

from pydantic import ValidationError

from understudy import store
from understudy.errors import ConfigError
from understudy.records import Record

FILE = "home.json"
FORMAT = 1


class Home(Record):
    """What home.json holds."""

    format: int


def check(home: Path) -> None:
    """Raise ConfigError for a home of another format, before anything of it is read; nothing is written."""
    try:
        found = Home.model_validate_json((home / FILE).read_bytes()).format
    except FileNotFoundError:
        if _is_used(home):
            raise ConfigError(
                [f"{home} was filled by Understudy 0.1.0, which this version cannot read: choose another --home"]
            ) from None
        return
    except (OSError, ValidationError) as error:
        raise ConfigError(
            [f"{home / FILE} cannot be read ({str(error).splitlines()[0]}); choose another --home"]
        ) from None
    if found > FORMAT:
        raise ConfigError(
            [f"{home} has format {found} and this version knows up to {FORMAT}: install a newer Understudy"]
        )


def mark(home: Path) -> None:
    """Write home.json into a home that has none."""
    if not (home / FILE).exists():
        home.mkdir(parents=True, exist_ok=True)
        store.replace(home / FILE, Home(format=FORMAT).model_dump_json().encode() + b"\n")


def _is_used(home: Path) -> bool:
    return next(home.glob("data/*/ledger.sqlite"), None) is not None
