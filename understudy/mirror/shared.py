"""
`data_root`: where machines without a common disk find each other's finished assets.

`keep` copies an asset there once it is finished; until it has arrived, a mark beside it says that it is still to be
copied. `meet` copies what is marked, then brings what is different: so what was made here last counts, and else
what lies there. Databases, decisions and the champion's history stay on their machine; `push` and `pull` copy them.
A talk that was forgotten leaves a tombstone there, so that no other machine brings it back.
"""

import json
import logging
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy import locks, mirror, store
from understudy.errors import AssetError
from understudy.mirror import copies, tree
from understudy.mirror.there import There, copying
from understudy.records import AssetRef

log = logging.getLogger("understudy.mirror")

WAIT_SECONDS = 3600.0
_bringing = threading.Lock()


def mark(home: Path, path: str, made_from: str) -> None:
    """Note that the asset at `path`, which is about to be made from `made_from`, is to be copied."""
    file = home / tree.unsent_of(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    store.replace(file, made_from.encode(), sync_folder=False)


def keep(home: Path, ref: AssetRef, url: str) -> None:
    """Copy one finished asset to `url`. Raises AssetError, ConfigError."""
    with copying(url) as there:
        copies.up(home, there, ref.path)
    (home / tree.unsent_of(ref.path)).unlink(missing_ok=True)


def find(home: Path, path: str, wanted: str, url: str) -> AssetRef | None:
    """Bring the asset at `path` when the one at `url` was made from `wanted`. Raises AssetError, ConfigError."""
    with _alone(home), copying(url) as there:
        if found := store.fresh(home, path, wanted):
            return found
        told = there.read([tree.manifest_of(path)]).get(tree.manifest_of(path))
        known = tree.parsed(told, path) if told else None
        if told is None or known is None or known.fingerprint != wanted:
            return None
        _bring(home, there, {path: told})
    return store.fresh(home, path, wanted)


def bring(home: Path, ref: AssetRef, url: str) -> None:
    """Bring the asset `ref`. Raises AssetError when `url` has none, or another one."""
    with _alone(home), copying(url) as there:
        if is_here(home, ref):
            return
        told = there.read([tree.manifest_of(ref.path)]).get(tree.manifest_of(ref.path))
        known = tree.parsed(told, ref.path) if told else None
        if told and known and known.asset.sha256 == ref.sha256:
            _bring(home, there, {ref.path: told})
    if not is_here(home, ref):
        raise AssetError(f"{ref.path} is neither here nor at {url} as it was made; run the part before again")


def is_here(home: Path, ref: AssetRef) -> bool:
    """Whether all of this very asset is on this machine."""
    known = store.present(home, ref.path)
    return known is not None and known.asset.sha256 == ref.sha256


def meet(home: Path, channel: str, url: str, document_id: str | None = None) -> None:
    """Copy there what is marked, and bring the assets of the channel, or of one talk, that are different there.

    The first time a channel meets `url`, all that it has and `url` has not is copied. Raises AssetError, ConfigError.
    """
    folder = home / "data" / channel
    top = f"data/{channel}" + (f"/documents/{document_id}" if document_id else "")
    with _alone(home), copying(url) as there:
        if document_id is None and _note(folder) != url:
            _adopt(home, there, channel, url)
            folder.mkdir(parents=True, exist_ok=True)
            store.replace(folder / tree.URL_FILE, f"{url}\n".encode())
        listed = there.listed(top)
        buried = _bury(folder, listed, channel)
        _send(home, there, top)
        _differences(home, there, top, url, {name: told for name, told in listed.items() if not _inside(name, buried)})


def send(home: Path, top: str, url: str) -> None:
    """Copy the assets below the folder `top` that are marked. Raises Unreachable, ConfigError."""
    if next((home / top).rglob(f".*{tree.UNSENT}"), None):
        with copying(url) as there:
            _send(home, there, top)


def push(home: Path, channel: str, url: str) -> None:
    """Copy all that is marked. What cannot be copied now is said, and copied by the next run."""
    try:
        with copying(url) as there:
            for top in tree.tops(channel):
                _send(home, there, top)
    except AssetError as error:
        log.warning("%s", error)


def forget(folder: Path, ids: Iterable[str] | None = None) -> str | None:
    """Drop talks, and the dataset that held them, from where the channel in `folder` is shared; returns that address.

    Each leaves a tombstone. Without `ids` all of the channel is dropped, but for its models. Raises AssetError.
    """
    url, channel = _note(folder), folder.name
    if url is None:
        return None
    with copying(url) as there:
        listed = there.listed(f"data/{channel}")
        if ids is None:
            there.drop(listed)
            return url
        for document_id in ids:
            there.write(f"data/{channel}/{tree.GRAVES}/{document_id}", b"forgotten\n")
            imports = f"data/{channel}/imported/{document_id}."
            there.drop(name for name in listed if _inside(name, {_home_of(channel, document_id)}))
            there.drop(name for name in listed if name.startswith(imports))
        there.drop(name for name in listed if _inside(name, {f"data/{channel}/dataset"}))
    return url


def refresh(folder: Path) -> None:
    """Push databases and decisions anew, without the forgotten, where they were pushed to the channel's `data_root`."""
    url, channel = _note(folder), folder.name
    if url is not None:
        with copying(url) as there:
            pushed = any(name.endswith((".sqlite", ".jsonl")) for name in tree.loose(there.listed(f"data/{channel}")))
        if pushed:
            mirror.push(folder.parents[1], channel, url)


def recall(folder: Path, ids: Iterable[str]) -> None:
    """Take the tombstones of talks away: they are asked for again."""
    if (url := _note(folder)) is not None:
        with copying(url) as there:
            there.drop(f"data/{folder.name}/{tree.GRAVES}/{document_id}" for document_id in ids)


def _send(home: Path, there: There, top: str) -> None:
    for file in sorted((home / top).rglob(f".*{tree.UNSENT}")):
        last = file.name.removeprefix(".").removesuffix(tree.UNSENT)
        inside = file.parent.relative_to(home).as_posix()
        path = f"{inside}/{last}" + ("/" if (file.parent / last).is_dir() else "")
        if store.present(home, path, file.read_text(encoding="utf-8")):
            copies.up(home, there, path)
            file.unlink()  # the mark of what is not made yet stays: somebody may be making it


def _differences(home: Path, there: There, top: str, url: str, listed: dict[str, str]) -> None:
    """Bring what changed since the last look; what is broken there is replaced by what is here, if that is whole."""
    seen_file = home / top / tree.SEEN_FILE
    seen = _seen(seen_file)
    changes = {
        path: listed[tree.manifest_of(path)]
        for path in tree.assets(tree.sound(listed, top, url))
        if not (seen.get(path) == listed[tree.manifest_of(path)] and store.present(home, path))
    }
    theirs = there.read(map(tree.manifest_of, changes))
    _bring(home, there, {path: theirs[tree.manifest_of(path)] for path in changes if tree.manifest_of(path) in theirs})
    if changes and (home / top).is_dir():
        store.replace(seen_file, json.dumps(seen | changes).encode())


def _bring(home: Path, there: There, wanted: dict[str, bytes]) -> None:
    """Bring assets, path > manifest, that are not here as they are there."""
    for path in list(wanted):
        manifest = home / tree.manifest_of(path)
        if manifest.exists() and manifest.read_bytes() == wanted[path] and store.present(home, path):
            del wanted[path]
    for path, size in copies.down(home, there, wanted):
        if size is None:
            log.warning("%s is broken where it is shared, so what is here stays", path)
            if store.present(home, path):
                copies.up(home, there, path)


def _adopt(home: Path, there: There, channel: str, url: str) -> None:
    for top in tree.tops(channel):
        listed, mine = there.listed(top), tree.assets(tree.below(home, top))
        buried = {_home_of(channel, document_id) for document_id in _graves(listed, channel)}
        for path in mine:
            if tree.manifest_of(path) not in listed and not _inside(path, buried) and store.present(home, path):
                copies.up(home, there, path)


def _bury(folder: Path, listed: Iterable[str], channel: str) -> set[str]:
    """Delete here what was forgotten elsewhere; returns the folders."""
    buried = _graves(listed, channel)
    for document_id in buried:
        shutil.rmtree(folder / "documents" / document_id, ignore_errors=True)
        for file in (folder / "imported").glob("*"):
            if file.name.split(".")[0] == document_id:
                file.unlink()
    return {_home_of(channel, document_id) for document_id in buried}


def _graves(listed: Iterable[str], channel: str) -> set[str]:
    start = f"data/{channel}/{tree.GRAVES}/"
    return {name.removeprefix(start) for name in listed if name.startswith(start)} - {"", ".", ".."}


def _home_of(channel: str, document_id: str) -> str:
    return f"data/{channel}/documents/{document_id}"


def _inside(name: str, folders: set[str]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:depth]) in folders for depth in range(1, len(parts)))


def _note(folder: Path) -> str | None:
    note = folder / tree.URL_FILE
    return note.read_text(encoding="utf-8").strip() if note.exists() else None


def _seen(file: Path) -> dict[str, str]:
    try:
        return dict(json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return {}


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One thread of one process brings at a time: two would write the same files."""
    with _bringing, locks.held(home / ".bringing.lock", f"copying to {home}", wait_seconds=WAIT_SECONDS):
        yield
