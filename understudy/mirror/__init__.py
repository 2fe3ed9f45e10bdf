"""
A channel on any filesystem fsspec knows (s3://, gs://, file://). Work is always done on the local copy.

`push` and `pull` copy a whole channel, databases and decisions too, and the side copied from counts.

In both directions the manifest of an asset comes last, so that a break leaves the old asset, the new one or none.
What lies there is the same tree as here.
"""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from understudy import locks
from understudy.errors import AssetError, ConfigError
from understudy.mirror import copies, tree
from understudy.mirror.there import There, copying


class Moved(NamedTuple):
    """What one push or pull did."""

    files: int = 0
    bytes: int = 0
    same: int = 0
    """Files that were equal on both sides."""

    def __add__(self, other: object) -> "Moved":
        assert isinstance(other, Moved)
        return Moved(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def push(home: Path, channel: str, url: str) -> Moved:
    """Copy what is new of `channel`, and of the bases, to `url`. Raises Busy, AssetError, ConfigError."""
    done = Moved()
    with copying(url) as there, locks.held(home / "data" / channel / ".lock", f"data/{channel}"):
        for top in tree.tops(channel):
            names = tree.below(home, top)
            done += _pushed(home, there, tree.assets(names))
            for name in tree.loose(names):
                done += _written(there, name, _bytes_of(home / name))
    return done


def pull(home: Path, channel: str, url: str) -> Moved:
    """Copy what is new of `channel`, and of the bases, from `url`. Raises Busy, AssetError, ConfigError."""
    done = Moved()
    with copying(url) as there, locks.held(home / "data" / channel / ".lock", f"data/{channel}"):
        found = [tree.sound(there.listed(top), top, url) for top in tree.tops(channel)]
        if not any(found):
            raise ConfigError([f"there is nothing of {channel!r} at {url!r}; push it first, or correct the address"])
        for names in found:
            done += _pulled(home, there, tree.assets(names))
            for name, data in there.read(tree.loose(names)).items():
                done += _placed(home / name, data)
    return done


def told(command: str, home: Path, channel: str, url: str) -> str:
    """Push or pull, and one sentence about it. Raises ConfigError for a channel that is not here."""
    if command == "push" and not (home / "data" / channel).is_dir():
        raise ConfigError([f"there is no channel {channel!r} in {home / 'data'}"])
    done = (push if command == "push" else pull)(home, channel, url)
    return f"{channel}: {done.files} files ({done.bytes / 1e6:.1f} MB) copied, {done.same} were there already"


def _pushed(home: Path, there: There, assets: dict[str, list[str]]) -> Moved:
    theirs, done = there.read(map(tree.manifest_of, assets)), Moved()
    for path, files in assets.items():
        ours = (home / tree.manifest_of(path)).read_bytes()
        if ours == theirs.get(tree.manifest_of(path)):
            done += Moved(same=len(files) + 1)
        elif not copies.whole(home / path, ours, path):
            raise AssetError(f"{path} is not what its manifest says; make it again with a run, then copy it")
        else:
            done += Moved(len(files) + 1, copies.up(home, there, path))
    return done


def _pulled(home: Path, there: There, assets: dict[str, list[str]]) -> Moved:
    theirs, done, stale = there.read(map(tree.manifest_of, assets)), Moved(), {}
    for path, files in assets.items():
        manifest = home / tree.manifest_of(path)
        data = theirs.get(tree.manifest_of(path), b"")
        if manifest.exists() and manifest.read_bytes() == data and copies.whole(home / path, data, path):
            done += Moved(same=len(files) + 1)
        else:
            stale[path] = data
    for path, size in copies.down(home, there, stale):
        if size is None:
            raise AssetError(f"{path} is not what its manifest says where it was copied from; what is here stays")
        done += Moved(len(assets[path]) + 1, size)
    return done


def _written(there: There, name: str, data: bytes) -> Moved:
    if there.read([name]).get(name) == data:
        return Moved(same=1)
    there.write(name, data)
    return Moved(1, len(data))


def _placed(file: Path, data: bytes) -> Moved:
    if file.exists() and _bytes_of(file) == data:
        return Moved(same=1)
    copies.place(file, data)
    return Moved(1, len(data))


def _bytes_of(file: Path) -> bytes:
    """The bytes of a file; of a database those of a consistent copy."""
    if file.suffix != ".sqlite":
        return file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy.read_bytes()
