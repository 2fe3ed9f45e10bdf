"""One asset copied there or here: whole where it arrives, its manifest last, and what it replaces stays until then."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from understudy import store
from understudy.mirror import tree
from understudy.mirror.there import There

SMALL_BYTES = 1 << 20
AT_ONCE = 500  # assets whose small files are held in memory together


def up(home: Path, there: There, path: str) -> int:
    """Copy the asset at `path`, which is here, there; returns the bytes."""
    told = (home / tree.manifest_of(path)).read_bytes()
    known = tree.parsed(told, path)
    assert known, f"{path} is not here"
    names = tree.files_of(known)
    there.drop([tree.manifest_of(path)])
    if path.endswith("/"):
        there.drop(there.listed(path.removesuffix("/")).keys() - names.keys())  # of an older one
    for name in names:
        there.upload(home / name, name)
    there.write(tree.manifest_of(path), told)
    return sum(names.values()) + len(told)


def down(home: Path, there: There, wanted: Mapping[str, bytes]) -> Iterator[tuple[str, int | None]]:
    """Bring assets, path > manifest, and tell of each its bytes; None for one that is not what its manifest says."""
    paths = list(wanted)
    for at in range(0, len(paths), AT_ONCE):
        batch = {path: tree.parsed(wanted[path], path) for path in paths[at : at + AT_ONCE]}
        sizes = {name: size for known in batch.values() if known for name, size in tree.files_of(known).items()}
        small = there.read(name for name, size in sizes.items() if size <= SMALL_BYTES)
        for path, known in batch.items():
            whole = known is not None and _one(home, there, path, wanted[path], tree.files_of(known), small)
            yield path, sum(tree.files_of(known).values()) + len(wanted[path]) if known and whole else None


def whole(file: Path, told: bytes, path: str) -> bool:
    """Whether `file`, or folder, is the asset that the manifest `told` of `path` was written for."""
    known = tree.parsed(told, path)
    if known is None or not file.exists():
        return False
    if known.files:
        return store.folder_digest(file) == (known.asset.sha256, known.files)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == known.asset.sha256


def place(file: Path, data: bytes) -> None:
    """Put a small file in place on this machine; of a database nothing older stays beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".sqlite":
        for side in ("-wal", "-shm"):
            file.with_name(file.name + side).unlink(missing_ok=True)
    store.replace(file, data)


def _one(
    home: Path, there: There, path: str, told: bytes, names: Mapping[str, int], small: Mapping[str, bytes]
) -> bool:
    target = home / path
    coming = target.with_name(f".{target.name}{tree.COMING}")
    _remove(coming)
    try:
        for name in names:
            file = coming / name.removeprefix(path) if path.endswith("/") else coming
            file.parent.mkdir(parents=True, exist_ok=True)
            if name in small:
                store.replace(file, small[name])
            elif names[name] > SMALL_BYTES:
                there.download(name, file)
        if not whole(coming, told, path):
            return False
        manifest = home / tree.manifest_of(path)
        if path.endswith("/"):
            store.replace(coming / store.MANIFEST, told)
            store.swap(coming, target)
        else:
            manifest.unlink(missing_ok=True)
            os.replace(coming, target)
            store.replace(manifest, told)
    except FileNotFoundError:
        if not (home / path).parent.exists():
            raise
        return False  # there it is being written anew
    finally:
        _remove(coming)
    return True


def _remove(coming: Path) -> None:
    if coming.is_dir():
        shutil.rmtree(coming)
    else:
        coming.unlink(missing_ok=True)
