"""
The model of a channel that is in use: the link models/<channel>/champion, and champion.jsonl, which says why.

The link moves in one rename. A line is added to the file before the link moves, and none is ever removed.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from understudy import locks
from understudy.errors import AssetError, UnderstudyError
from understudy.records import ChampionEvent

log = logging.getLogger("understudy.runs.champion")

LINK = "champion"
HISTORY = "champion.jsonl"
AGAIN = "-rerun-"
"""Part of the name of a repeated training: it has no exported files, so it cannot be used."""
WAIT_SECONDS = 10.0


def current(models: Path) -> Path | None:
    """The folder of the run in use, in `models` (models/<channel>); None when there is none, or it is gone."""
    try:
        run = models / os.readlink(models / LINK)
    except OSError:
        return None
    return run if run.is_dir() else None


def runs(models: Path) -> list[Path]:
    """The folders of the channel's trained runs, by name; the link to the champion is not one of them."""
    return sorted(f.parent for f in models.glob("*/adapter") if f.parent.name != LINK)


def history(models: Path) -> list[ChampionEvent]:
    """The outcome of each run, oldest first. Raises AssetError for a damaged line.

    An incomplete last line, from a crash, is ignored: the link had not moved yet.
    """
    file = models / HISTORY
    lines = file.read_bytes().split(b"\n") if file.exists() else [b""]
    if lines.pop().strip():
        log.warning("%s ends in an incomplete line, which is ignored", file)
    return [_parsed(file, at, line) for at, line in enumerate(lines, 1) if line.strip()]


def succession(events: Sequence[ChampionEvent]) -> list[str]:
    """The runs that a rollback can go back to, oldest first; the last one is the champion."""
    stack: list[str] = []
    for event in events:
        if event.action in ("promoted", "chosen"):
            stack.append(event.run)
        elif event.action == "rolled back" and event.run in stack:
            stack = stack[: _last(stack, event.run) + 1]
    return stack


def considered(models: Path) -> str | None:
    """The run that was promoted or refused last."""
    return next((r.run for r in reversed(history(models)) if r.action in ("promoted", "refused")), None)


def rolled_back(models: Path, run: str) -> str | None:
    """When a person rolled back from `run`, unless it was chosen again since."""
    for event in reversed(history(models)):
        if event.run == run and event.action == "chosen":
            return None
        if event.before == run and event.action == "rolled back":
            return event.at
    return None


def restore(models: Path) -> None:
    """Link the champion that the history names, on a machine that received history and runs."""
    stack, now = succession(history(models)), current(models)
    if stack and not (now and now.name == stack[-1]) and stack[-1] in [run.name for run in runs(models)]:
        with _lock(models):
            _link(models, stack[-1])


def refuse(models: Path, run: str, reasons: Sequence[str]) -> ChampionEvent:
    """Note that `run` was considered and does not become the champion."""
    with _lock(models):
        return _record(models, "refused", run, reasons)


def promote(models: Path, run: str, reasons: Sequence[str]) -> ChampionEvent:
    """Make `run` the champion."""
    with _lock(models):
        return _set_champion(models, "promoted", run, reasons)


def rollback(models: Path, to: str | None = None) -> ChampionEvent:
    """Make the champion before this one the champion again, or the run `to`. Raises UnderstudyError."""
    if not models.is_dir():
        raise UnderstudyError(f"there is no channel {models.name!r} under {models.parent}; name one that has models")
    with _lock(models):
        if to:
            known = [run.name for run in runs(models) if AGAIN not in run.name]
            if to not in known:
                names = ", ".join(known) or "none yet"
                raise UnderstudyError(f"there is no run {to!r} of {models.name}; there are: {names}")
            return _set_champion(models, "chosen", to, [])
        now, stack = current(models), succession(history(models))
        earlier = [run for run in stack[:-1] if (models / run).is_dir() and not (now and now.name == run)]
        if not earlier:
            raise UnderstudyError(
                f"{models.name} has no champion before {now.name if now else 'any'} that still exists; "
                "choose a run yourself: --to RUN"
            )
        return _set_champion(models, "rolled back", earlier[-1], [])


def _set_champion(models: Path, action: str, run: str, reasons: Sequence[str]) -> ChampionEvent:
    link = models / LINK
    if link.exists() and not link.is_symlink():
        raise AssetError(f"{link} is a file or folder of its own, where a link to a run is needed; move it away")
    event = _record(models, action, run, reasons)
    _link(models, run)
    return event


def _link(models: Path, run: str) -> None:
    link = models / LINK
    beside = models / f".{LINK}.tmp"
    beside.unlink(missing_ok=True)
    beside.symlink_to(run)
    os.replace(beside, link)


def _record(models: Path, action: str, run: str, reasons: Sequence[str]) -> ChampionEvent:
    """Add one line; it is on disk when this returns."""
    before = current(models)
    event = ChampionEvent.model_validate(
        {
            "action": action,
            "run": run,
            "before": before.name if before else None,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "reasons": list(reasons),
        }
    )
    with (models / HISTORY).open("a+b") as file:
        file.seek(0)
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)  # what a crash left of a line
        file.write(event.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return event


def _lock(models: Path) -> AbstractContextManager[None]:
    return locks.held(models / ".champion.lock", f"the champion of {models.name}", wait_seconds=WAIT_SECONDS)


def _parsed(file: Path, at: int, line: bytes) -> ChampionEvent:
    try:
        return ChampionEvent.model_validate_json(line)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise AssetError(f"line {at} of {file} is not a valid entry ({why}); correct that line or delete it") from error


def _last(stack: Sequence[str], run: str) -> int:
    return len(stack) - 1 - list(reversed(stack)).index(run)
