"""
A channel's assets on any filesystem fsspec knows (s3://, gs://, file://): `push` after a run, `pull` before the next.

Work is always done on the local copy. In both directions the manifest of an asset goes first when the asset is
replaced and comes last when it is complete, so that a break leaves the old asset, the new one or none. What lies
there is the same tree as here. Databases travel as consistent copies.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from understudy import locks, store
from understudy.errors import AssetError, ConfigError
from understudy.records import Manifest

LEFT_OUT = (".lock", ".tmp", ".partial", ".old", "-wal", "-shm")


class Moved(NamedTuple):
    """What one push or pull did."""

    files: int
    bytes: int
    same: int
    """Files that were equal on both sides."""


def push(home: Path, channel: str, url: str) -> Moved:
    """Copy what is new of `channel`, and of the bases, to `url`. Raises Busy, AssetError, ConfigError."""
    files = _filesystem(url)
    with locks.held(home / "data" / channel / ".lock", f"data/{channel}"):
        names = [f.relative_to(home).as_posix() for top in _tops(channel) for f in _below(home / top)]
        return _copied(names, Local(home), files, url)


def pull(home: Path, channel: str, url: str) -> Moved:
    """Copy what is new of `channel`, and of the bases, from `url`. Raises Busy, AssetError, ConfigError."""
    files = _filesystem(url)
    with locks.held(home / "data" / channel / ".lock", f"data/{channel}"):
        names = [name for top in _tops(channel) for name in files.names(top)]
        if strange := [name for name in names if ".." in name.split("/") or name.startswith("/")]:
            raise AssetError(f"{url} holds {strange[0]!r}, which is no file of a channel; nothing was copied")
        if not names:
            raise ConfigError([f"there is nothing of {channel!r} at {url!r}; push it first, or correct the address"])
        return _copied(names, files, Local(home), url)


def told(command: str, home: Path, channel: str, url: str) -> str:
    """Push or pull, and one sentence about it. Raises ConfigError for a channel that is not here."""
    if command == "push" and not (home / "data" / channel).is_dir():
        raise ConfigError([f"there is no channel {channel!r} in {home / 'data'}"])
    done = (push if command == "push" else pull)(home, channel, url)
    return f"{channel}: {done.files} files ({done.bytes / 1e6:.1f} MB) copied, {done.same} were there already"


class Local:
    """Files under the home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; of a database those of a consistent copy; None when there is none."""
        file = self.home / name
        if file.suffix == ".sqlite" and file.exists():
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "copy"
                with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
                return copy.read_bytes()
        return file.read_bytes() if file.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file in place."""
        target = self.home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for side in ("-wal", "-shm"):
            target.with_name(target.name + side).unlink(missing_ok=True)
        store.replace(target, data)

    def drop(self, name: str) -> None:
        """Remove a file."""
        (self.home / name).unlink(missing_ok=True)


class Remote:
    """Files under an address of fsspec's; an object store writes each of them whole or not at all."""

    def __init__(self, files: Any, root: str) -> None:
        self.files, self.root = files, root.rstrip("/")

    def names(self, top: str) -> list[str]:
        """Every file below the folder `top`."""
        place = f"{self.root}/{top}"
        found = self.files.find(place) if self.files.exists(place) else []
        return [name.removeprefix(self.root).lstrip("/") for name in found if not name.endswith(LEFT_OUT)]

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None when there is none."""
        try:
            return bytes(self.files.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file in place."""
        self.files.makedirs(f"{self.root}/{name}".rsplit("/", 1)[0], exist_ok=True)
        self.files.pipe_file(f"{self.root}/{name}", data)

    def drop(self, name: str) -> None:
        """Remove a file."""
        if self.files.exists(f"{self.root}/{name}"):
            self.files.rm_file(f"{self.root}/{name}")


def _filesystem(url: str) -> Remote:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ConfigError([f"{url!r} cannot be used: {error}; for s3:// install s3fs, for gs:// gcsfs"]) from None
    files.invalidate_cache()
    return Remote(files, root)


def _tops(channel: str) -> tuple[str, str, str]:
    return f"data/{channel}", f"models/{channel}", "models/bases"


def _below(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        if file.is_file() and not any(part.endswith(LEFT_OUT) for part in inside):
            yield file


def _copied(names: list[str], source: Any, target: Any, url: str) -> Moved:
    """Asset by asset, manifest last; then what has no manifest."""
    moved = [0, 0, 0]
    manifests = [name for name in names if name.endswith(store.MANIFEST)]
    owned = {name: manifest for manifest in manifests for name in _asset(manifest, names)}
    try:
        for manifest in manifests:
            told = source.read(manifest)
            mine = [name for name, owner in owned.items() if owner == manifest]
            if told is None or told == target.read(manifest):
                moved[2] += len(mine) + 1
                continue
            target.drop(manifest)
            for name in mine:
                _one(name, source, target, moved, _expected(told, name))
            target.write(manifest, told)
            moved[0] += 1
        for name in names:
            if name not in owned and name not in manifests:
                _one(name, source, target, moved, lambda data: True)
    except OSError as error:
        raise AssetError(
            f"copying to or from {url} broke off ({error}); the same command goes on from there"
        ) from error
    return Moved(*moved)


def _one(name: str, source: Any, target: Any, moved: list[int], sound: Callable[[bytes], bool]) -> None:
    data = source.read(name)
    if data is None or not sound(data):
        raise AssetError(f"{name} is not what its manifest says; make it again with a run, then copy it")
    if data == target.read(name):
        moved[2] += 1
        return
    target.write(name, data)
    moved[0] += 1
    moved[1] += len(data)


def _asset(manifest: str, names: list[str]) -> list[str]:
    """The files a manifest vouches for: those of its folder, or the one it is named after."""
    folder, _, last = manifest.rpartition("/")
    if last == store.MANIFEST:
        return [name for name in names if name.startswith(f"{folder}/") and name != manifest]
    return [f"{folder}/{last.removeprefix('.').removesuffix(store.MANIFEST)}"]


def _expected(told: bytes, name: str) -> Callable[[bytes], bool]:
    """Whether bytes are those the manifest was written for: by digest, or by size for a file of a folder."""
    try:
        known = Manifest.model_validate_json(told)
    except ValidationError:
        return lambda data: False
    if known.files:
        size = known.files.get(name.removeprefix(known.asset.path))
        return lambda data: size is None or len(data) == size
    return lambda data: hashlib.sha256(data).hexdigest() == known.asset.sha256
