"""
The seam `FileSystem` on a real folder: it fails by plan, and a power cut takes back what was not synced.

A reader sees at once what was written, as through a page cache. The content of a file is safe once the file is
synced, a name once its folder is, and names of one folder become safe in the order in which they were given. Making a
folder counts as safe. SQLite is not part of it: its commits are taken as atomic.
"""

import errno
import os
import shutil
from pathlib import Path
from random import Random
from typing import IO, Any, NamedTuple

from tests.simulation.world import World


class _Change(NamedTuple):
    """A name that was given or taken and is not safe yet."""

    number: int
    kind: str
    source: Path
    target: Path
    backup: Path | None


class _File:
    """A file whose writing fails half-way."""

    def __init__(self, file: IO[bytes], error: OSError) -> None:
        self.file, self.error = file, error

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[: len(data) // 2])
        raise self.error


class SimulatedDisk:
    """A disk of one process; what a power cut takes back is drawn from `random`."""

    def __init__(self, world: World, random: Random, folder: Path, fails_at: int | None, fails_with: int) -> None:
        """Operation number `fails_at` and the few after it fail with the errno `fails_with`; `folder` keeps backups."""
        self.world, self.random, self.folder = world, random, folder
        self.fails_at, self.fails_with = fails_at, fails_with
        self.operations = 0
        self._dirty: set[Path] = set()
        self._changes: list[_Change] = []
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, file: Path, mode: str) -> Any:
        error = self._failure(f"write {file.name}")
        opened = open(file, mode)  # noqa: SIM115  # the caller closes it
        self._dirty.add(file)
        return _File(opened, error) if error else opened

    def fsync(self, path: Path) -> None:
        self._fail(f"sync {path.name}")
        if path.is_dir():
            self._changes = [change for change in self._changes if change.target.parent != path]
        else:
            self._dirty.discard(path)

    def replace(self, source: Path, target: Path) -> None:
        self._fail(f"rename to {target.name}")
        backup = self._backup(target) if target.exists() else None
        os.replace(source, target)
        self._changes = [self._moved(change, source, target) for change in self._changes]
        self._dirty = {_moved(file, source, target) for file in self._dirty}
        self._changes.append(_Change(self.operations, "replace", source, target, backup))

    def unlink(self, file: Path) -> None:
        self._fail(f"delete {file.name}")
        if file.exists():
            backup = self._backup(file)
            file.unlink()
            self._changes.append(_Change(self.operations, "unlink", file, file, backup))

    def rmtree(self, folder: Path) -> None:
        self._fail(f"delete {folder.name}/")
        if folder.exists():
            backup = self.folder / str(self.operations)
            os.replace(folder, backup)
            self._changes.append(_Change(self.operations, "rmtree", folder, folder, backup))

    def lose_power(self) -> None:
        """Take back what is not safe, as far as the draw says."""
        folders = sorted({change.target.parent for change in self._changes})
        for folder in folders:
            own = [change for change in self._changes if change.target.parent == folder]
            kept = self.random.randint(0, len(own))
            self._changes = [change for change in self._changes if change not in own[:kept]]
        for change in sorted(self._changes, reverse=True):
            self._take_back(change)
        for file in sorted(self._dirty):
            if file.is_file():
                os.truncate(file, self.random.randint(0, file.stat().st_size))

    def _take_back(self, change: _Change) -> None:
        if change.kind == "replace" and change.target.exists() and change.source.parent.is_dir():
            os.replace(change.target, change.source)
        if change.backup and change.target.parent.is_dir() and not change.target.exists():
            os.replace(change.backup, change.target)

    def _backup(self, file: Path) -> Path:
        backup = self.folder / str(self.operations)
        if file.is_dir():
            shutil.copytree(file, backup)
        else:
            os.link(file, backup)
        return backup

    def _moved(self, change: _Change, source: Path, target: Path) -> _Change:
        return change._replace(
            source=_moved(change.source, source, target), target=_moved(change.target, source, target)
        )

    def _failure(self, what: str) -> OSError | None:
        self.operations += 1
        self.world.step(what)
        self.world.trace(f"disk: {what}")
        if self.fails_at is not None and self.fails_at <= self.operations < self.fails_at + 3:
            self.world.trace(f"disk: fails with {errno.errorcode[self.fails_with]}")
            return OSError(self.fails_with, os.strerror(self.fails_with))
        return None

    def _fail(self, what: str) -> None:
        if error := self._failure(what):
            raise error


def _moved(file: Path, source: Path, target: Path) -> Path:
    return target / file.relative_to(source) if file.is_relative_to(source) else file
