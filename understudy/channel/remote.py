"""
Where a channel is kept for other machines, on any filesystem that fsspec knows.

    <url>/<channel>/files/<sha256>              a content, once
    <url>/<channel>/generations/<sha256>.json   one state of the channel: the names of its files and their contents
    <url>/<channel>/current.json                which generation counts: the only file that is ever replaced
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from understudy.errors import AssetError, Busy, ConfigError, UnderstudyError
from understudy.records import Record

FOLDERLESS = frozenset({"s3", "gs", "gcs", "az", "abfs"})
"""Object stores: a file there is whole or not there, and a folder is only a part of a name."""
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict")
PUSHED_MEANWHILE = "another machine pushed the channel meanwhile; nothing was replaced, pull it first"


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Content(NamedTuple):
    """What is in a file."""

    sha256: Digest
    bytes: int


Generation = dict[str, Content]
"""Name under the home > content."""
_GENERATION = TypeAdapter(Generation)


class Pointer(Record):
    """Which generation counts, and the fencing token of the lease under which it was pushed."""

    generation: Digest
    token: int


class Remote:
    """The place of one channel."""

    def __init__(self, url: str, channel: str) -> None:
        """Raises ConfigError for an address that nothing here can use."""
        import fsspec

        try:
            self.files, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigError([f"{url!r} cannot be used: {error}; for s3:// install s3fs, for gs:// gcsfs"]) from None
        self.files.invalidate_cache()
        self.url, self.root = url, f"{root.rstrip('/')}/{channel}"
        protocols = self.files.protocol
        names = {protocols} if isinstance(protocols, str) else {*protocols}
        self.s3, self.folders = "s3" in names, not FOLDERLESS.intersection(names)

    def pointer(self) -> tuple[Pointer | None, str]:
        """The pointer, None where nothing was ever pushed, and S3's tag of it."""
        place = f"{self.root}/current.json"
        self.files.invalidate_cache()
        try:
            tag = str(self.files.info(place).get("ETag", ""))
            return Pointer.model_validate_json(self.files.cat_file(place)), tag
        except FileNotFoundError:
            return None, ""
        except ValidationError as error:
            raise AssetError(f"{self.url} holds {place}, which is no pointer to a generation: {error}") from None

    def move(self, pointer: Pointer, before: Pointer | None, tag: str) -> None:
        """Make another generation count. Raises Busy when the pointer is no longer the one `before`."""
        if before and before.token > pointer.token:
            raise Busy(PUSHED_MEANWHILE)
        place, data = f"{self.root}/current.json", pointer.model_dump_json().encode()
        if self.s3:
            bucket, _, key = place.partition("/")
            condition = {"IfMatch": tag} if before else {"IfNoneMatch": "*"}
            try:
                self.files.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
            except OSError as error:
                response = getattr(error.__cause__, "response", None) or {}
                if response.get("Error", {}).get("Code") in _CHANGED:
                    raise Busy(PUSHED_MEANWHILE) from None
                raise
        elif self.pointer()[0] != before:
            raise Busy(PUSHED_MEANWHILE)
        elif not self.folders:
            self.files.pipe_file(place, data)
        else:
            self.files.pipe_file(f"{place}.tmp", data)
            self.files.mv(f"{place}.tmp", place)

    def generation(self, name: str) -> Generation:
        """One state of the channel. Raises AssetError for a broken one, FileNotFoundError for one that is gone."""
        data = self.files.cat_file(f"{self.root}/generations/{name}.json")
        if hashlib.sha256(data).hexdigest() != name:
            raise AssetError(f"generation {name} at {self.url} is broken; push the channel again")
        try:
            return _GENERATION.validate_json(data)
        except ValidationError as error:
            raise AssetError(f"generation {name} at {self.url} is none: {error}") from None

    def write_generation(self, files: Generation) -> str:
        """Write one state of the channel; returns its name."""
        data = _GENERATION.dump_json(dict(sorted(files.items())))
        name = hashlib.sha256(data).hexdigest()
        self._makedirs("generations")
        self.files.pipe_file(f"{self.root}/generations/{name}.json", data)
        return name

    def contents(self) -> dict[str, int]:
        """Digest > bytes of all that is stored."""
        return {name.rpartition("/")[2]: int(info["size"]) for name, info in self._listed("files").items()}

    def upload(self, files: Mapping[str, Path]) -> None:
        """Store files by their digests, many at once where the filesystem can."""
        self._makedirs("files")
        if files:
            self.files.put([str(file) for file in files.values()], [f"{self.root}/files/{name}" for name in files])

    def download(self, digests: Collection[str], folder: Path) -> None:
        """Write contents to `folder`, named by their digests. Raises FileNotFoundError, AssetError for a broken one."""
        if digests:
            self.files.get([f"{self.root}/files/{name}" for name in digests], [str(folder / name) for name in digests])
        for name in digests:
            if digest(folder / name) != name:
                raise AssetError(f"{self.root}/files/{name} is broken where it was copied from; what is here stays")

    def prune(self, name: str, kept: Collection[str]) -> None:
        """Delete what the generation `name` does not hold."""
        wanted = {f"generations/{name}.json", *(f"files/{content}" for content in kept)}
        listed = [*self._listed("files"), *self._listed("generations")]
        if stale := [place for place in listed if "/".join(place.split("/")[-2:]) not in wanted]:
            self.files.rm(stale)

    def remove(self) -> None:
        """Delete all of it."""
        if self.files.exists(self.root):
            self.files.rm(self.root, recursive=True)

    def _listed(self, folder: str) -> dict[str, Any]:
        self.files.invalidate_cache()
        place = f"{self.root}/{folder}"
        files: dict[str, Any] = self.files.find(place, detail=True) if self.files.exists(place) else {}
        return files

    def _makedirs(self, folder: str) -> None:
        if self.folders:
            self.files.makedirs(f"{self.root}/{folder}", exist_ok=True)


@contextmanager
def connected(url: str, channel: str) -> Iterator[Remote]:
    """The place of a channel at `url`; whatever its library raises becomes an error of ours."""
    try:
        yield Remote(url, channel)
    except UnderstudyError:
        raise
    except Exception as error:  # each filesystem has errors of its own
        raise AssetError(
            f"copying between this machine and {url} broke off ({type(error).__name__}: {error}); what is copied is "
            "whole, and the next time continues from there"
        ) from error


def problem(url: str) -> str | None:
    """Why an address can be none to copy to, before it is opened."""
    parts = re.match(r"[a-z][a-z0-9+.-]*://([^/]*)(.*)", url)
    if not parts or not "".join(parts.groups()):
        return "write it as s3://bucket/path, gs://bucket/path or file:///folder"
    if ":" in parts[1].rpartition("@")[0]:
        return "leave the password out of it; keys come from the environment"
    return "it must not hold any of * ? [" if re.search(r"[*?\[]", url) else None


def digest(file: Path) -> str:
    """The sha256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
