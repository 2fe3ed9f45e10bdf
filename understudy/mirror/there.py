"""Files under an address of fsspec's: listed, read, written and dropped by name. The names are those of the home."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError, UnderstudyError, Unreachable

FOLDERLESS = frozenset({"s3", "gs", "az"})
"""Object stores: a file there is whole or not there, and to be asked for a folder costs a request and makes none."""
_CHANGES = ("ETag", "etag", "LastModified", "mtime", "ino")


class There:
    """Every file is written whole or not at all."""

    def __init__(self, files: Any, root: str) -> None:
        self.files, self.root = files, root.rstrip("/")
        protocols = [files.protocol] if isinstance(files.protocol, str) else files.protocol
        self.folders = not FOLDERLESS.intersection(protocols)

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

    def listed(self, top: str) -> dict[str, str]:
        """Name > what changes when the file is written again, of every file below the folder `top`."""
        place = f"{self.root}/{top}"
        found = self.files.find(place, detail=True) if self.files.exists(place) else {}
        return {
            name.removeprefix(self.root).removeprefix("/"): " ".join(str(info.get(key)) for key in ("size", *_CHANGES))
            for name, info in found.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those that are there; an object store is asked for many at once."""
        wanted = [f"{self.root}/{name}" for name in names]
        found = self.files.cat(wanted, on_error="return") if wanted else {}
        for data in found.values():
            if isinstance(data, BaseException) and not isinstance(data, FileNotFoundError):
                raise data
        return {
            name.removeprefix(self.root).removeprefix("/"): data
            for name, data in found.items()
            if isinstance(data, bytes)
        }

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place."""
        with self._whole(name) as place:
            self.files.pipe_file(place, data)

    def upload(self, file: Path, name: str) -> None:
        """Put a file of this machine in place, in pieces."""
        with self._whole(name) as place:
            self.files.put_file(str(file), place)

    def download(self, name: str, file: Path) -> None:
        """Write a file to this machine, in pieces."""
        self.files.get_file(f"{self.root}/{name}", str(file))
        with file.open("rb") as opened:
            os.fsync(opened.fileno())

    def drop(self, names: Iterable[str]) -> None:
        """Remove files, those that are there."""
        for name in names:
            with suppress(FileNotFoundError):
                self.files.rm_file(f"{self.root}/{name}")

    @contextmanager
    def _whole(self, name: str) -> Iterator[str]:
        """Where to write, so that nobody finds half of it."""
        place = f"{self.root}/{name}"
        if not self.folders:
            yield place
            return
        folder, _, last = place.rpartition("/")
        self.files.makedirs(folder, exist_ok=True)
        beside = f"{folder}/.{last}.{os.getpid()}.tmp"
        yield beside
        self.files.mv(beside, place)


def problem(url: str) -> str | None:
    """Why an address can be none to copy to, before it is asked."""
    found = re.match(r"[a-z][a-z0-9+.-]*://([^/]*)(.*)", url)
    if not found or not "".join(found.groups()):
        return "write it as s3://bucket/path, gs://bucket/path or file:///folder"
    if ":" in found[1].rpartition("@")[0]:
        return "leave the password out of it; keys come from the environment"
    return "it must not hold any of * ? [" if re.search(r"[*?\[]", url) else None


@contextmanager
def copying(url: str) -> Iterator[There]:
    """The place at `url`; whatever its library raises becomes an error of ours."""
    try:
        yield There.at(url)
    except UnderstudyError:
        raise
    except Exception as error:  # each filesystem has errors of its own
        raise Unreachable(
            f"copying between this machine and {url} broke off ({type(error).__name__}: {error}); "
            "what is copied is whole, the next time goes on from there"
        ) from error
