"""
A channel's assets on any filesystem fsspec knows (s3://, gs://, file://), where every machine finds them.

`push` and `pull` copy a whole channel. With `data_root` in the preset, `keep` copies each asset there once it is
finished, `meet` brings what another machine made and keeps what only this one has, and a run ends with `push`.

Work is always done on the local copy. In both directions the manifest of an asset goes first when the asset is
replaced and comes last when it is complete, so that a break leaves the old asset, the new one or none. What lies
there is the same tree as here. Databases travel as consistent copies.
"""

import hashlib
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from understudy import locks, store
from understudy.errors import AssetError, ConfigError, UnderstudyError
from understudy.mirror import tree
from understudy.mirror.there import There, place
from understudy.records import AssetRef

URL_FILE = "data_root.url"
AT_ONCE = 500  # assets whose small files are held in memory together
SMALL_BYTES = 1 << 20
_bringing = threading.Lock()


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
    with _copying(url) as there, locks.held(home / "data" / channel / ".lock", f"data/{channel}"):
        for top in tree.tops(channel):
            names = tree.below(home, top)
            done += _kept(home, there, tree.assets(names))
            for name in tree.loose(names):
                done += _written(there, name, _bytes_of(home / name))
    return done


def pull(home: Path, channel: str, url: str) -> Moved:
    """Copy what is new of `channel`, and of the bases, from `url`. Raises Busy, AssetError, ConfigError."""
    done = Moved()
    with _copying(url) as there, locks.held(home / "data" / channel / ".lock", f"data/{channel}"):
        found = [tree.sound(there.sizes(top), url) for top in tree.tops(channel)]
        if not any(found):
            raise ConfigError([f"there is nothing of {channel!r} at {url!r}; push it first, or correct the address"])
        for sizes in found:
            done += _brought(home, there, sizes)
            for name, data in there.read(tree.loose(sizes)).items():
                done += _placed(home / name, data)
    return done


def told(command: str, home: Path, channel: str, url: str) -> str:
    """Push or pull, and one sentence about it. Raises ConfigError for a channel that is not here."""
    if command == "push" and not (home / "data" / channel).is_dir():
        raise ConfigError([f"there is no channel {channel!r} in {home / 'data'}"])
    done = (push if command == "push" else pull)(home, channel, url)
    return f"{channel}: {done.files} files ({done.bytes / 1e6:.1f} MB) copied, {done.same} were there already"


def keep(home: Path, ref: AssetRef, url: str) -> None:
    """Copy one finished asset to `url`. Raises AssetError, ConfigError."""
    manifest = tree.manifest_of(ref.path)
    names = tree.below(home, ref.path.rstrip("/")) if ref.path.endswith("/") else [ref.path, manifest]
    with _copying(url) as there:
        _kept(home, there, tree.assets(names), sure=True)


def find(home: Path, path: str, wanted: str, url: str) -> AssetRef | None:
    """Bring the asset at `path` when the one at `url` was made from `wanted`. Raises AssetError, ConfigError."""
    manifest = tree.manifest_of(path)
    with _copying(url) as there:
        told = there.read([manifest]).get(manifest)
        if told is None or (known := tree.parsed(told)) is None or known.fingerprint != wanted:
            return None
        _brought(home, there, tree.sound(_sizes(there, known.asset, len(told)), url))
    return store.fresh(home, path, wanted)


def bring(home: Path, ref: AssetRef, url: str) -> None:
    """Bring the asset `ref`. Raises AssetError when `url` has none, or another one."""
    with _bringing, _copying(url) as there:
        if (home / ref.path).exists() and store.current(home, ref.path) == ref:
            return  # another thread brought it meanwhile
        manifest = tree.manifest_of(ref.path)
        told = there.read([manifest]).get(manifest)
        if told is None or (known := tree.parsed(told)) is None or known.asset.sha256 != ref.sha256:
            raise AssetError(f"{ref.path} is neither here nor at {url}; run the part before again")
        _brought(home, there, tree.sound(_sizes(there, known.asset, len(told)), url))


def meet(home: Path, top: str, url: str) -> None:
    """Bring the assets below the folder `top` as they are at `url`; copy there what only this machine has.

    Of files that are no assets those come that are not here, or go on where ours ends. Raises AssetError, ConfigError.
    """
    with _copying(url) as there:
        sizes = tree.sound(there.sizes(top), url)
        _brought(home, there, sizes)
        for name in tree.loose(sizes):
            _grown(home / name, there, name, sizes[name])
        ours = tree.assets(tree.below(home, top))
        _kept(home, there, {manifest: files for manifest, files in ours.items() if manifest not in sizes})


def grow(home: Path, name: str, url: str) -> None:
    """Bring a file to which lines are only ever added, when the one at `url` goes on where ours ends."""
    with _copying(url) as there:
        _grown(home / name, there, name, None)


def remember(folder: Path, url: str) -> None:
    """Note in a channel's folder where its assets live, for those who only know the folder."""
    note = folder / URL_FILE
    if not note.exists() or note.read_text(encoding="utf-8").strip() != url:
        folder.mkdir(parents=True, exist_ok=True)
        store.replace(note, f"{url}\n".encode())


def forget(folder: Path, ids: Iterable[str] | None = None) -> None:
    """Drop talks, and the dataset that held them, where the assets of the channel in `folder` live, if not only here.

    What is left of the channel is copied there anew; without `ids` all of it is dropped, but for its models.
    Raises Busy, AssetError, ConfigError.
    """
    note, channel = folder / URL_FILE, folder.name
    if not note.exists():
        return
    url = note.read_text(encoding="utf-8").strip()
    gone = [f"data/{channel}"]
    if ids is not None:
        gone = [f"data/{channel}/{inside}" for inside in (*(f"documents/{name}" for name in ids), "dataset")]
    with _copying(url) as there:
        for top in gone:
            there.drop(there.sizes(top))
    if ids is not None:
        push(folder.parents[1], channel, url)


@contextmanager
def _copying(url: str) -> Iterator[There]:
    """The place at `url`; whatever its library raises becomes an error of ours."""
    try:
        yield There.at(url)
    except UnderstudyError:
        raise
    except Exception as error:  # each filesystem has errors of its own
        raise AssetError(
            f"copying to or from {url} broke off ({type(error).__name__}: {error}); the same command goes on from there"
        ) from error


def _sizes(there: There, ref: AssetRef, manifest_bytes: int) -> dict[str, int]:
    """The files of one asset there, with its manifest."""
    if ref.path.endswith("/"):
        return there.sizes(ref.path.rstrip("/"))
    return {ref.path: ref.bytes, tree.manifest_of(ref.path): manifest_bytes}


def _kept(home: Path, there: There, assets: dict[str, list[str]], sure: bool = False) -> Moved:
    """Copy the assets there that differ; those just made are `sure` to be what their manifests say."""
    theirs, done = there.read(assets), Moved()
    for manifest, files in assets.items():
        told = (home / manifest).read_bytes()
        if told == theirs.get(manifest):
            done += Moved(same=len(files) + 1)
            continue
        if not (sure or _whole(home, told)):
            raise AssetError(f"{tree.path_of(manifest)} is not what its manifest says; make it again with a run first")
        there.drop([manifest])
        for name in files:
            there.upload(home / name, name)
        there.write(manifest, told)
        done += Moved(len(files) + 1, sum((home / name).stat().st_size for name in files) + len(told))
    return done


def _brought(home: Path, there: There, sizes: dict[str, int]) -> Moved:
    """Copy the assets here that differ; the small files of many are asked for together."""
    assets, done = tree.assets(sizes), Moved()
    theirs, stale = there.read(assets), []
    for manifest, told in theirs.items():
        if (home / manifest).exists() and (home / manifest).read_bytes() == told:
            done += Moved(same=len(assets[manifest]) + 1)
        else:
            stale.append(manifest)
    for at in range(0, len(stale), AT_ONCE):
        batch = stale[at : at + AT_ONCE]
        small = there.read(name for manifest in batch for name in assets[manifest] if sizes[name] <= SMALL_BYTES)
        for manifest in batch:
            done += _one_brought(home, there, manifest, theirs[manifest], assets[manifest], small)
    return done


def _one_brought(
    home: Path, there: There, manifest: str, told: bytes, names: list[str], small: dict[str, bytes]
) -> Moved:
    (home / manifest).unlink(missing_ok=True)
    if manifest.rpartition("/")[2] == store.MANIFEST:
        shutil.rmtree((home / manifest).parent, ignore_errors=True)  # a file of the old one must not stay in it
    for name in names:
        if name in small:
            place(home / name, small[name])
        else:
            there.download(name, home / name)
    if not _whole(home, told):
        raise AssetError(f"{tree.path_of(manifest)} is not what its manifest says where it was copied from")
    place(home / manifest, told)
    return Moved(len(names) + 1, sum((home / name).stat().st_size for name in names) + len(told))


def _grown(file: Path, there: There, name: str, size: int | None) -> None:
    if file.exists() and (file.suffix == ".sqlite" or size == file.stat().st_size):
        return
    theirs, ours = there.read([name]).get(name), file.read_bytes() if file.exists() else None
    if theirs is not None and (ours is None or theirs.startswith(ours)):
        _placed(file, theirs)


def _whole(home: Path, told: bytes) -> bool:
    """Whether the asset on this machine is the one its manifest was written for."""
    if (known := tree.parsed(told)) is None:
        return False
    file = home / known.asset.path
    if known.files:
        return file.is_dir() and store.folder_digest(file) == (known.asset.sha256, known.files)
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == known.asset.sha256


def _written(there: There, name: str, data: bytes) -> Moved:
    if there.read([name]).get(name) == data:
        return Moved(same=1)
    there.write(name, data)
    return Moved(1, len(data))


def _placed(file: Path, data: bytes) -> Moved:
    if file.exists() and _bytes_of(file) == data:
        return Moved(same=1)
    place(file, data)
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
