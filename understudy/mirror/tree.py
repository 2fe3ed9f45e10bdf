"""Which files belong to a channel and to an asset, told by their names: those of the home, in posix form."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from understudy import store
from understudy.errors import AssetError
from understudy.records import Manifest

LEFT_OUT = (".lock", ".tmp", ".partial", ".old", "-wal", "-shm")


def tops(channel: str) -> tuple[str, str, str]:
    """The folders that a channel needs."""
    return f"data/{channel}", f"models/{channel}", "models/bases"


def below(home: Path, top: str) -> list[str]:
    """The files below the folder `top`, without what is being written."""
    files = (file.relative_to(home) for file in sorted((home / top).rglob("*")) if file.is_file())
    return [file.as_posix() for file in files if not any(part.endswith(LEFT_OUT) for part in file.parts)]


def sound(sizes: dict[str, int], url: str) -> dict[str, int]:
    """The files there that belong to a channel. Raises AssetError for a name that leads out of it."""
    if strange := [name for name in sizes if ".." in name.split("/") or name.startswith("/")]:
        raise AssetError(f"{url} holds {strange[0]!r}, which is no file of a channel; nothing was copied")
    return {name: size for name, size in sizes.items() if not name.endswith(LEFT_OUT)}


def assets(names: Iterable[str]) -> dict[str, list[str]]:
    """Manifest > the files it vouches for: those of its folder, or the one it is named after."""
    listed = list(names)
    found: dict[str, list[str]] = {name: [] for name in listed if name.endswith(store.MANIFEST)}
    for name in listed:
        owner = _owner(name, found)
        if owner:
            found[owner].append(name)
    return found


def _owner(name: str, manifests: dict[str, list[str]]) -> str | None:
    folder, _, last = name.rpartition("/")
    if (beside := f"{folder}/.{last}{store.MANIFEST}") in manifests:
        return beside
    while folder:
        if (inside := f"{folder}/{store.MANIFEST}") in manifests and inside != name:
            return inside
        folder = folder.rpartition("/")[0]
    return None


def loose(names: Iterable[str]) -> list[str]:
    """The files that no manifest vouches for."""
    listed = list(names)
    owned = assets(listed)
    inside = {name for files in owned.values() for name in files}
    return [name for name in listed if name not in inside and name not in owned]


def manifest_of(path: str) -> str:
    """The manifest of the asset at `path`."""
    folder, _, last = path.rpartition("/")
    return f"{path}{store.MANIFEST}" if path.endswith("/") else f"{folder}/.{last}{store.MANIFEST}"


def path_of(manifest: str) -> str:
    """The asset that `manifest` vouches for."""
    folder, _, last = manifest.rpartition("/")
    return f"{folder}/{last.removeprefix('.').removesuffix(store.MANIFEST)}"


def parsed(told: bytes) -> Manifest | None:
    """A manifest as it was read; None for what is none."""
    try:
        return Manifest.model_validate_json(told)
    except ValidationError:
        return None
