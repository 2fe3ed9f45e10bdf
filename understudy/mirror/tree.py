"""Which files belong to a channel and to an asset, told by their names: those of the home, in posix form."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from understudy import store
from understudy.catalog import is_asset
from understudy.errors import AssetError
from understudy.records import Manifest

COMING = ".coming"
LEFT_OUT = (".lock", ".tmp", ".partial", ".old", "-wal", "-shm", COMING, "ledger.url")
"""Ends of names that say something of this machine, or of work under way."""


def tops(channel: str) -> tuple[str, str, str]:
    """The folders that a channel needs."""
    return f"data/{channel}", f"models/{channel}", "models/bases"


def below(home: Path, top: str) -> list[str]:
    """The files below the folder `top` that are copied."""
    files = (file.relative_to(home) for file in sorted((home / top).rglob("*")) if file.is_file())
    return [file.as_posix() for file in files if not any(part.endswith(LEFT_OUT) for part in file.parts)]


def sound(names: Iterable[str], top: str, url: str) -> list[str]:
    """The names there that are copied. Raises AssetError for one that leads out of the folder `top`."""
    listed = list(names)
    for name in listed:
        if not name.startswith(f"{top}/") or {"", ".", ".."}.intersection(name.split("/")):
            raise AssetError(f"{url} holds {name!r}, which is no file of a channel; nothing was copied")
    return [name for name in listed if not name.endswith(LEFT_OUT)]


def assets(names: Iterable[str]) -> dict[str, list[str]]:
    """Path of each asset > its files but for the manifest; what only looks like a manifest makes none."""
    listed = list(names)
    paths = (path_of(name) for name in listed if name.endswith(store.MANIFEST))
    found: dict[str, list[str]] = {path: [] for path in paths if is_asset(path)}
    for name in listed:
        if (path := _owner(name, found)) and name != manifest_of(path):
            found[path].append(name)
    return found


def loose(names: Iterable[str]) -> list[str]:
    """The files that no manifest vouches for."""
    listed = list(names)
    found = assets(listed)
    owned = {name for path, files in found.items() for name in (*files, manifest_of(path))}
    return [name for name in listed if name not in owned]


def manifest_of(path: str) -> str:
    """The manifest of the asset at `path`."""
    folder, _, last = path.rpartition("/")
    return f"{path}{store.MANIFEST}" if path.endswith("/") else f"{folder}/.{last}{store.MANIFEST}"


def path_of(manifest: str) -> str:
    """The asset that `manifest` vouches for."""
    folder, _, last = manifest.rpartition("/")
    return f"{folder}/" + last.removesuffix(store.MANIFEST).removeprefix(".")


def parsed(told: bytes, path: str) -> Manifest | None:
    """The manifest of the asset at `path`; None for what is none of it."""
    try:
        known = Manifest.model_validate_json(told)
    except ValidationError:
        return None
    inside = [part for name in known.files or {} for part in name.split("/")]
    if known.asset.path != path or bool(known.files) != path.endswith("/") or {"", ".", ".."}.intersection(inside):
        return None
    return known


def files_of(known: Manifest) -> dict[str, int]:
    """Name > bytes of the files that a manifest vouches for."""
    if known.files:
        return {f"{known.asset.path}{name}": size for name, size in known.files.items()}
    return {known.asset.path: known.asset.bytes}


def _owner(name: str, found: dict[str, list[str]]) -> str | None:
    if name in found:
        return name
    folder, _, last = name.rpartition("/")
    if last.endswith(store.MANIFEST) and path_of(name) in found:
        return path_of(name)
    while folder:
        if f"{folder}/" in found:
            return f"{folder}/"
        folder = folder.rpartition("/")[0]
    return None
