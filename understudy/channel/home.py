"""
home.json: the format of a home folder, so that no program reads what it does not know.

Formats: 1 since 0.2.0. A folder that 0.1.0 filled has no home.json.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from understudy import locks, store
from understudy.errors import ConfigError
from understudy.records import Record

FILE = "home.json"
HOMES = "deployed.json"
"""Of this user's state: where something is deployed."""
DEPLOYED = Path("data") / ".prefect" / "running.json"
"""What a deployment keeps in its home."""
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
    """Write home.json into a home that has none. Raises ConfigError where a deployed home is gone, as with its disk."""
    if not (home / FILE).exists():
        if home in deployed() and not (home / DEPLOYED).exists():
            raise ConfigError(
                [
                    f"{home} is deployed and is not there now: is its disk plugged in? Nothing was created in its "
                    f"place. To start over there: understudy deploy --home {home} --preset FILE"
                ]
            )
        home.mkdir(parents=True, exist_ok=True)
        store.replace(home / FILE, Home(format=FORMAT).model_dump_json().encode() + b"\n")


def deployed() -> list[Path]:
    """The homes that this user deployed, as far as they were not undeployed."""
    try:
        return [Path(home) for home in json.loads((locks.state() / HOMES).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _is_used(home: Path) -> bool:
    return next(home.glob("data/*/ledger.sqlite"), None) is not None
