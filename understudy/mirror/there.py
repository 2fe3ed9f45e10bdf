"""Files under an address of fsspec's: listed, read, written and dropped by name. The names are those of the home."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from understudy import store
from understudy.errors import ConfigError

FOLDERLESS = frozenset({"s3", "gs", "az"})
"""Object stores: to be asked for a folder costs a request there, and makes none."""


class There:
    """Every file is written whole or not at all, as object stores do."""

    def __init__(self, files: Any, root: str) -> None:
        self.files, self.root = files, root.rstrip("/")

    @classmethod
    def at(cls, url: str) -> "There":
        """The place at `url`, as it is now. Raises ConfigError for an address that nothing here can use."""
        import fsspec

        try:
            files, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigError([f"{url!r} cannot be used: {error}; for s3:// install s3fs, for gs:// gcsfs"]) from None
        files.invalidate_cache()
        return cls(files, root)

    def sizes(self, top: str) -> dict[str, int]:
        """Name > bytes of every file below the folder `top`."""
        place = f"{self.root}/{top}"
        found = self.files.find(place, detail=True) if self.files.exists(place) else {}
        return {name.removeprefix(self.root).lstrip("/"): info["size"] for name, info in found.items()}

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those that are there; an object store is asked for many at once."""
        wanted = [f"{self.root}/{name}" for name in names]
        found = self.files.cat(wanted, on_error="omit") if wanted else {}
        return {name.removeprefix(self.root).lstrip("/"): bytes(data) for name, data in found.items()}

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place."""
        self._make_folder(name)
        self.files.pipe_file(f"{self.root}/{name}", data)

    def upload(self, file: Path, name: str) -> None:
        """Put a file of this machine in place, in pieces."""
        self._make_folder(name)
        self.files.put_file(str(file), f"{self.root}/{name}")

    def download(self, name: str, file: Path) -> None:
        """Put a file in place on this machine, in pieces."""
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        self.files.get_file(f"{self.root}/{name}", str(temporary))
        with temporary.open("rb") as opened:
            os.fsync(opened.fileno())
        os.replace(temporary, file)

    def drop(self, names: Iterable[str]) -> None:
        """Remove files, those that are there."""
        for name in names:
            with suppress(FileNotFoundError):
                self.files.rm_file(f"{self.root}/{name}")

    def _make_folder(self, name: str) -> None:
        if not FOLDERLESS.intersection(
            [self.files.protocol] if isinstance(self.files.protocol, str) else self.files.protocol
        ):
            self.files.makedirs(f"{self.root}/{name}".rsplit("/", 1)[0], exist_ok=True)


def place(file: Path, data: bytes) -> None:
    """Put a small file in place on this machine; of a database nothing older stays beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".sqlite":
        for side in ("-wal", "-shm"):
            file.with_name(file.name + side).unlink(missing_ok=True)
    store.replace(file, data)
