"""
The clock, the file system and the network: the three parts of the outside world that are injected.

Each is a small protocol with its real implementation, the default wherever one is a parameter. A test or a simulation
hands in another one: time that only sleeping moves, a disk that fails, a server inside the process.
"""

import asyncio
import os
import shutil
import sys
import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import httpx2


T = TypeVar("T")


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> datetime:
        """The date and time in UTC, for records and for dates that a server names."""

    def monotonic(self) -> float:
        """Seconds since an unknown moment; never goes back."""

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        """Return after `seconds`, or as soon as `wake` is set."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """An event loop whose timers follow this clock."""

    def result(self, future: Future[T]) -> T:
        """What comes of work that another thread does; waits for it."""

    def join(self, thread: threading.Thread) -> None:
        """Return when `thread` has ended."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The date and time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since the machine started, or some such moment."""
        return time.monotonic()

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        """Return after `seconds`, or as soon as `wake` is set."""
        wake.wait(seconds) if wake else time.sleep(seconds)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """An ordinary event loop."""
        return asyncio.new_event_loop()

    def result(self, future: Future[T]) -> T:
        """What comes of work that another thread does; waits for it."""
        return future.result()

    def join(self, thread: threading.Thread) -> None:
        """Return when `thread` has ended."""
        thread.join()


class FileSystem(Protocol):
    """Every change to the disk that has to survive a kill. Reading is not part of it: use the path itself."""

    def open(self, file: Path, mode: str) -> IO[bytes]:
        """Open `file` in a binary mode."""

    def fsync(self, path: Path) -> None:
        """Return when the content of a file, or the names in a folder, are on the disk."""

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` the name `target` in one step; a file that is there goes."""

    def unlink(self, file: Path) -> None:
        """Delete `file`, where it exists."""

    def rmtree(self, folder: Path) -> None:
        """Delete `folder` with all that is in it, where it exists."""


class Disk:
    """The machine's own file system."""

    def open(self, file: Path, mode: str) -> IO[bytes]:
        """Open `file` in a binary mode."""
        return open(file, mode)

    def fsync(self, path: Path) -> None:
        """Return when the content of a file, or the names in a folder, are on the disk."""
        on_windows = sys.platform == "win32"
        if on_windows and path.is_dir():  # a folder cannot be opened there, and a file only be synced by who may write
            return
        handle = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` the name `target` in one step."""
        os.replace(source, target)

    def unlink(self, file: Path) -> None:
        """Delete `file`, where it exists."""
        file.unlink(missing_ok=True)

    def rmtree(self, folder: Path) -> None:
        """Delete `folder` with all that is in it, where it exists."""
        if folder.exists():
            shutil.rmtree(folder)


class HttpTransport(Protocol):
    """How the OpenAI clients reach a server."""

    def asynchronous(self) -> "httpx2.AsyncBaseTransport | None":
        """What an asynchronous client sends its requests through; None for its own connections."""

    def blocking(self) -> "httpx2.BaseTransport | None":
        """What a blocking client sends its requests through; None for its own connections."""


class Network:
    """The client's own connections, which are kept alive and follow the proxies of the environment."""

    def asynchronous(self) -> None:
        """The client's own."""

    def blocking(self) -> None:
        """The client's own."""


CLOCK: Clock = SystemClock()
DISK: FileSystem = Disk()
NETWORK: HttpTransport = Network()
