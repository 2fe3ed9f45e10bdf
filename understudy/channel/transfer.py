"""
A whole channel pushed to another place, and pulled from there: its talks, databases, decisions and models.

A push uploads what is new under its digest, then makes one small pointer name the new state, so that a reader gets a
whole state or the one before. A pull downloads all that differs, checks it, and only then replaces files, the
manifest of an asset last. Work is always done on the local copy.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from understudy import store
from understudy.catalog import is_asset
from understudy.channel import home as home_format
from understudy.channel.lease import Lease
from understudy.channel.remote import Content, Generation, Pointer, Remote, connected, digest
from understudy.database import URL_FILE, sqlite
from understudy.errors import AssetError, ConfigError
from understudy.records import Manifest

NOTE = ".remote.json"
"""Beside a channel: which generation was pushed or pulled last, and the names in it."""
_COMING = ".coming"
_LEFT_OUT = (".lock", ".tmp", ".partial", ".old", "-wal", "-shm", _COMING, NOTE, URL_FILE)
"""Ends of names that mean something on this machine only, or work under way."""


class Transfer(NamedTuple):
    """What one push or pull did."""

    files: int = 0
    bytes: int = 0
    same: int = 0
    """Files that were equal on both sides."""

    def __str__(self) -> str:
        return f"{self.files} files ({self.bytes / 1e6:.1f} MB) copied, {self.same} were there already"


@contextmanager
def synchronised(home: Path, channel: str, url: str | None, lease: Lease | None) -> Iterator[None]:
    """Begin with what was pushed last, by whatever machine, and push what is there in the end.

    Nothing is pulled when this machine pushed or pulled last: what it has is at least as new.
    """
    if url is None:
        yield
        return
    update(home, channel, url)
    try:
        yield
    except Exception as error:
        try:
            push(home, channel, url, lease)
        except Exception as failure:
            error.add_note(f"the work so far could not be pushed either: {failure}")
        raise
    push(home, channel, url, lease)


def push(home: Path, channel: str, url: str, lease: Lease | None = None) -> Transfer:
    """Make `url` hold the channel as it is here. Raises Busy, AssetError, ConfigError.

    The caller holds the channel's lock, and its lease where there is one.
    """
    if not (home / "data" / channel).is_dir():
        raise ConfigError([f"there is no channel {channel!r} in {home / 'data'}"])
    with connected(url, channel) as remote, tempfile.TemporaryDirectory() as folder:
        before, tag = remote.pointer()
        sources = {name: _source(home / name, Path(folder)) for name in _names(home, channel)}
        files = {name: Content(digest(file), file.stat().st_size) for name, file in sources.items()}
        _check(home, files)
        stored = remote.contents()
        new = {files[name].sha256: name for name in files if stored.get(files[name].sha256) != files[name].bytes}
        remote.upload({content: sources[name] for content, name in new.items()})
        generation = remote.write_generation(files)
        if before is None or before.generation != generation:
            token = lease.token if lease else before.token if before else 0
            with lease.fenced() if lease else nullcontext():
                remote.move(Pointer(generation=generation, token=token), before, tag)
                remote.prune(generation, {content.sha256 for content in files.values()})
    _note(home, channel, url, generation, files)
    copied = [name for name in files if files[name].sha256 in new]
    return Transfer(len(copied), sum(files[name].bytes for name in new.values()), len(files) - len(copied))


def update(home: Path, channel: str, url: str) -> bool:
    """Pull what another machine pushed last; False where that was this one, or nothing is there."""
    with connected(url, channel) as remote:
        pointer, _ = remote.pointer()
    newer = pointer is not None and pointer.generation != _noted(home, channel, url)[0]
    if newer:
        pull(home, channel, url)
    return newer


def pull(home: Path, channel: str, url: str) -> Transfer:
    """Make the channel here what `url` holds. Raises AssetError, ConfigError. The caller holds the channel's lock."""
    with connected(url, channel) as remote:
        pointer, _ = remote.pointer()
        if pointer is None:
            raise ConfigError([f"nothing of {channel!r} is at {url!r}; push it first, or correct the address"])
        return _pulled(home, channel, remote, pointer.generation)


def _pulled(home: Path, channel: str, remote: Remote, name: str) -> Transfer:
    home_format.mark(home)
    files = remote.generation(name)
    _check_names(files, channel, remote.url)
    coming = home / "data" / channel / _COMING
    coming.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        changed = [n for n in files if not _is_same(home / n, files[n], Path(folder))]
    with tempfile.TemporaryDirectory(dir=coming) as folder:
        contents = {files[n].sha256 for n in changed}
        remote.download(contents, Path(folder))
        gone = {n for n in _noted(home, channel, remote.url)[1] if not n.startswith("models/bases/")} - files.keys()
        _place(home, Path(folder), {n: files[n] for n in changed}, gone | _strays(home, files, changed))
    coming.rmdir()
    _note(home, channel, remote.url, name, files)
    return Transfer(len(changed), sum(files[n].bytes for n in changed), len(files) - len(changed))


def _place(home: Path, folder: Path, changed: Generation, gone: Iterable[str]) -> None:
    """Put downloaded contents into place: no asset has a manifest until all of it is there."""
    os.sync()  # contents are on the disk before a manifest speaks for them
    uses = Counter(content.sha256 for content in changed.values())
    last = sorted(changed, key=lambda name: name.endswith(store.MANIFEST))
    for name in (*gone, *(name for name in last if name.endswith(store.MANIFEST))):
        (home / name).unlink(missing_ok=True)
    for name in last:
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".sqlite":
            sqlite.close(target)
            for side in ("-wal", "-shm"):
                target.with_name(target.name + side).unlink(missing_ok=True)
        content, draft = folder / changed[name].sha256, target.with_name(f".{target.name}.tmp")
        uses[content.name] -= 1
        shutil.copyfile(content, draft) if uses[content.name] else os.replace(content, draft)
        os.replace(draft, target)
    os.sync()


def _strays(home: Path, files: Generation, changed: Iterable[str]) -> set[str]:
    """Files of an older folder asset that the one which replaces it does not have."""
    folders = {str(PurePosixPath(name).parent) for name in changed if PurePosixPath(name).name == store.MANIFEST}
    here = (file for folder in folders for file in (home / folder).rglob("*") if file.is_file())
    return {file.relative_to(home).as_posix() for file in here} - files.keys()


def _names(home: Path, channel: str) -> list[str]:
    """The files of a channel, and of the bases."""
    files = (file for top in _tops(channel) for file in sorted((home / top).rglob("*")) if file.is_file())
    names = (file.relative_to(home) for file in files)
    return [name.as_posix() for name in names if not any(part.endswith(_LEFT_OUT) for part in name.parts)]


def _tops(channel: str) -> tuple[str, str, str]:
    return f"data/{channel}", f"models/{channel}", "models/bases"


def _check_names(files: Iterable[str], channel: str, url: str) -> None:
    """Raises AssetError for a name that leads out of the folders of the channel."""
    for name in files:
        inside = any(name.startswith(f"{top}/") for top in _tops(channel))
        if not inside or {"", ".", ".."}.intersection(name.split("/")) or name.endswith(_LEFT_OUT):
            raise AssetError(f"{url} holds {name!r}, which is no file of a channel; nothing was copied")


def _check(home: Path, files: Generation) -> None:
    """Raises AssetError for an asset that is not what its manifest says."""
    for name in (name for name in files if name.endswith(store.MANIFEST)):
        folder, _, last = name.rpartition("/")
        path = f"{folder}/" + last.removesuffix(store.MANIFEST).removeprefix(".")
        if not is_asset(path):
            continue
        ref = store.latest(home, path)
        known = ref and store.fresh(home, path, Manifest.model_validate_json((home / name).read_bytes()).fingerprint)
        if known is None or (not path.endswith("/") and files[path].sha256 != known.sha256):
            raise AssetError(f"{path} is not what its manifest says; make it again with a run, then push it")


def _source(file: Path, folder: Path) -> Path:
    """The file to copy; of a database a consistent copy in `folder`."""
    if file.suffix != ".sqlite":
        return file
    copy = Path(tempfile.mkstemp(dir=folder)[1])
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _is_same(file: Path, content: Content, folder: Path) -> bool:
    if not file.is_file() or (file.suffix != ".sqlite" and file.stat().st_size != content.bytes):
        return False
    return digest(_source(file, folder)) == content.sha256


def _noted(home: Path, channel: str, url: str) -> tuple[str | None, list[str]]:
    """The generation that was pushed to `url` or pulled from it last, and the names in it."""
    try:
        note = json.loads((home / "data" / channel / NOTE).read_bytes())
    except (OSError, ValueError):
        return None, []
    return (note["generation"], note["names"]) if note["url"] == url else (None, [])


def _note(home: Path, channel: str, url: str, generation: str, files: Generation) -> None:
    note = {"url": url, "generation": generation, "names": sorted(files)}
    store.replace(home / "data" / channel / NOTE, json.dumps(note).encode())
