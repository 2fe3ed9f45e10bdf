"""One writer per channel, one training per machine: advisory file locks that die with their process."""

import getpass
import json
import logging
import math
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from filelock import lock_descriptor, unlock_descriptor

from understudy.errors import Busy

MACHINE = Path(tempfile.gettempdir())
"""The folder of the locks that are shared by all channels of this machine and user."""
SAID_AGAIN_SECONDS = 3600.0
"""Between two reports that a lock is waited for."""
_own: set[Path] = set()
log = logging.getLogger("understudy.locks")


@contextmanager
def held(
    file: Path, what: str, wait_seconds: float = 0.0, waiting: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock `file` inside the block. Raises Busy, naming the holder, when it remains locked.

    `waiting` is called with a message that names the holder, and again every few seconds. A process may take a lock
    that it already holds: a flow may call another one of the same channel.
    """
    if file in _own:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        _acquire(handle, file, what, time.monotonic() + wait_seconds, waiting)
        handle.truncate(0)
        handle.write(
            " "  # Windows locks the first byte for reading, too
            + json.dumps(
                {
                    "process": os.getpid(),
                    "host": socket.gethostname(),
                    "command": " ".join(sys.argv)[:200],
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
        )
        handle.flush()
        _own.add(file)
        try:
            yield
        finally:
            _own.discard(file)
            handle.truncate(0)


def holder(file: Path) -> str | None:
    """Who holds the lock `file`, in words; None when it is free."""
    if not file.exists():
        return None
    with file.open("a+") as handle:
        if not lock_descriptor(handle.fileno(), blocking=False):
            return _who(file)
        unlock_descriptor(handle.fileno())
    return None


def user() -> str:
    """What tells this user's files in a shared folder from those of others: the number, or the name on Windows."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


@contextmanager
def only_training() -> Iterator[None]:
    """Hold the training slot of this machine and user; a second training logs that it waits: both would only swap."""
    lock = MACHINE / f"understudy-training-{user()}.lock"
    with held(lock, "training on this machine", math.inf, waiting=log.warning):
        yield


def state() -> Path:
    """The folder of what runs and deployments of this user leave for each other on this machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "understudy"


@contextmanager
def working(run: str) -> Iterator[None]:
    """Hold a lock under the id of a run while this process works on it, so that `is_lost` knows that it lives."""
    file = _of_run(run)
    try:
        with held(file, run):
            yield
    finally:
        file.unlink(missing_ok=True)


def is_lost(run: str) -> bool | None:
    """True when the process of a run ended without a word, False while it lives, asleep or not.

    None when this machine does not know the run, which then works elsewhere.
    """
    file = _of_run(run)
    if not file.exists():
        return None
    if holder(file):
        return False
    return socket.gethostname() in _who(file) or None


def _of_run(run: str) -> Path:
    return state() / "runs" / f"{run}.lock"


@contextmanager
def slot(name: str, count: int, wait_seconds: float, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold one of `count` slots shared by this user's processes on this machine. Raises Busy when none becomes free."""
    files = [MACHINE / f"understudy-{name}-{user()}-{number}.lock" for number in range(count)]
    began, said = time.monotonic(), -math.inf
    with ExitStack() as stack:
        while not _one_of(files, name, stack):
            now = time.monotonic()
            if now >= began + wait_seconds:
                raise Busy(f"{count} other runs on this machine hold all slots of {name!r}; wait until one ends")
            if waiting and now - said >= SAID_AGAIN_SECONDS:
                holders = ", ".join(_who(file) for file in files)
                waiting(f"{now - began:.0f} s: waiting for a slot of {name!r}, all {count} are held by {holders}")
                said = now
            time.sleep(0.2)
        yield


def _one_of(files: Sequence[Path], name: str, stack: ExitStack) -> bool:
    for file in files:
        if file not in _own:  # another flow of this process has that one
            try:
                stack.enter_context(held(file, name))
                return True
            except Busy:
                pass
    return False


def _acquire(handle: IO[str], file: Path, what: str, until: float, waiting: Callable[[str], None] | None) -> None:
    began, said = time.monotonic(), -math.inf
    while True:
        if lock_descriptor(handle.fileno(), blocking=False):
            return
        who, now = _who(file), time.monotonic()
        if now >= until:
            raise Busy(f"{what} is in use by {who}; wait until that run ends, or stop it, or choose another --home")
        if waiting and now - said >= SAID_AGAIN_SECONDS:
            waiting(f"{what} is in use by {who}; waiting" + (f", {now - began:.0f} s so far" if said > 0 else ""))
            said = now
        time.sleep(0.2)


def _who(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            handle.seek(1 if sys.platform == "win32" else 0)
            entry = json.loads(handle.read())
        return f"process {entry['process']} on {entry['host']} since {entry['since']} ({entry['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"
