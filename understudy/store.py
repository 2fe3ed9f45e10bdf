"""
Read and write assets, and find out whether one is fresh.

Writes are atomic: a temporary file, fsync, rename. The old manifest is deleted first when an asset is
replaced, and the new one is written last, so its presence proves that the asset is complete. A kill at any instant
leaves the old asset, the new one, or none; never part of one.
"""

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from understudy.errors import AssetError
from understudy.records import AssetRef, Manifest, Record
from understudy.seams import DISK, FileSystem

log = logging.getLogger("understudy.store")

CARD = "card.json"
MANIFEST = ".manifest.json"


def fingerprint(*parts: Any) -> str:
    """A digest of everything an asset is made from. `parts` must be JSON values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fresh(home: Path, path: str, wanted: str) -> AssetRef | None:
    """The finished asset at `path` when its fingerprint is `wanted`, else None.

    A manifest that cannot be read, a missing file or one of another size is not fresh: the
    asset is made again, and the log says why.
    """
    target = home / path
    manifest = _manifest_of(target, path)
    try:
        known = Manifest.model_validate_json(manifest.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s is corrupt, so %s is made again: %s", manifest, path, str(error).splitlines()[0])
        return None
    if known.fingerprint != wanted:
        return None
    sizes = known.files or {"": known.asset.bytes}
    for name, size in sizes.items():
        file = target / name if name else target
        if not file.is_file() or file.stat().st_size != size:
            log.warning("%s is missing or cut short, so %s is made again", file, path)
            return None
    return known.asset


def write_file(
    home: Path, name: str, path: str, data: bytes, rows: int, fingerprint: str, disk: FileSystem = DISK
) -> AssetRef:
    """Write `data` as the asset at `path`, then its manifest."""
    target = home / path
    ref = AssetRef(name=name, path=path, rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    with _out_of_space(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        manifest = _manifest_of(target, path)
        disk.unlink(manifest)
        replace(target, data, disk, sync_folder=False)  # the manifest's sync keeps both names, in this order
        replace(manifest, Manifest(fingerprint=fingerprint, asset=ref).model_dump_json().encode(), disk)
    return ref


def build_folder(
    home: Path, name: str, path: str, make: Callable[[Path], Record], fingerprint: str, disk: FileSystem = DISK
) -> AssetRef:
    """Let `make` fill a folder and return its card; put the folder in place, manifest inside.

    A partial folder that a killed `make` left for the same fingerprint is passed to it again, so that long work
    can resume; leftovers of another fingerprint are removed first.
    """
    target = home / path
    partial = target.with_name(f".{target.name}.partial")
    mark = partial / ".fingerprint"
    with _out_of_space(target):
        if partial.exists() and not (mark.exists() and mark.read_text() == fingerprint):
            disk.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        replace(mark, fingerprint.encode(), disk)
        card = make(partial)
        disk.unlink(mark)
        replace(partial / CARD, card.model_dump_json(indent=1).encode(), disk)
        ref = _seal(partial, name, path, fingerprint, disk)
        swap(partial, target, disk)
    return ref


def build_file(
    home: Path, name: str, path: str, make: Callable[[Path], Record], fingerprint: str, disk: FileSystem = DISK
) -> AssetRef:
    """Let `make` write one large file and return its card; put the file in place, then its manifest with the card."""
    target = home / path
    temporary = target.with_name(f".{target.name}.tmp")
    with _out_of_space(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        disk.unlink(temporary)
        card = make(temporary)
        with temporary.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        disk.fsync(temporary)
        ref = AssetRef(name=name, path=path, rows=1, bytes=temporary.stat().st_size, sha256=digest)
        manifest = _manifest_of(target, path)
        disk.unlink(manifest)
        disk.replace(temporary, target)
        known = Manifest(fingerprint=fingerprint, asset=ref, card=card.model_dump(mode="json"))
        replace(manifest, known.model_dump_json().encode(), disk)
    return ref


def latest(home: Path, path: str) -> AssetRef | None:
    """The finished asset at `path`, whatever it was made from."""
    try:
        return Manifest.model_validate_json(_manifest_of(home / path, path).read_bytes()).asset
    except (OSError, ValidationError):
        return None


def discard(home: Path, path: str, disk: FileSystem = DISK) -> None:
    """Make the asset at `path` stale: it stays on disk until it is made again."""
    disk.unlink(_manifest_of(home / path, path))


def read_record(home: Path, ref: AssetRef, record: type[Record]) -> Any:
    """The one record of a JSON asset, or the card of a folder. Raises AssetError."""
    return next(read_rows(home, ref, record))


def read_rows(home: Path, ref: AssetRef, record: type[Record]) -> Iterator[Any]:
    """The records of an asset, validated. Raises AssetError when the file changed since it was written."""
    if ref.path.endswith("/"):
        yield record.model_validate_json((home / ref.path / CARD).read_bytes())
        return
    file = home / ref.path
    if file.suffix == ".gguf":
        yield record.model_validate(Manifest.model_validate_json(_manifest_of(file, ref.path).read_bytes()).card)
        return
    data = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise AssetError(f"{file} changed or vanished since it was written; delete it, and it is made again")
    if file.suffix == ".parquet":
        yield from _parquet_rows(data, record)
    elif file.suffix == ".jsonl":
        yield from (record.model_validate_json(line) for line in data.splitlines())
    else:
        yield record.model_validate_json(data)


def encode(path: str, rows: Iterable[Record]) -> tuple[bytes, int]:
    """The bytes of an asset in the format its file name says, and the number of rows."""
    listed = list(rows)
    if path.endswith(".parquet"):
        return _parquet_bytes(listed), len(listed)
    if path.endswith(".jsonl"):
        return b"".join(row.model_dump_json().encode() + b"\n" for row in listed), len(listed)
    return listed[0].model_dump_json(indent=1).encode() + b"\n", 1


def folder_digest(folder: Path, disk: FileSystem | None = None) -> tuple[str, dict[str, int]]:
    """The digest of a folder asset as its files are now, and their sizes; with a `disk` they are synced to it."""
    digest, files = hashlib.sha256(), {}
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.name != MANIFEST):
        inside = file.relative_to(folder).as_posix()
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        if disk:
            disk.fsync(file)
        files[inside] = file.stat().st_size
        if file.suffix not in (".jsonl", ".log") and inside != CARD:  # timings differ from run to run, weights do not
            digest.update(f"{inside} {content}\n".encode())
    return digest.hexdigest(), files


def replace(target: Path, data: bytes, disk: FileSystem = DISK, sync_folder: bool = True) -> None:
    """Write `data` to `target` so that a reader sees the old bytes or the new ones."""
    temporary = target.with_name(f".{target.name}.tmp")
    with disk.open(temporary, "wb") as file:
        file.write(data)
    disk.fsync(temporary)
    disk.replace(temporary, target)
    if sync_folder:
        disk.fsync(target.parent)


def _manifest_of(target: Path, path: str) -> Path:
    return target / MANIFEST if path.endswith("/") else target.with_name(f".{target.name}{MANIFEST}")


def _seal(folder: Path, name: str, path: str, fingerprint: str, disk: FileSystem) -> AssetRef:
    """Digest and sync every file of a finished folder, then write its manifest into it."""
    sha256, files = folder_digest(folder, disk)
    ref = AssetRef(name=name, path=path, rows=len(files), bytes=sum(files.values()), sha256=sha256)
    manifest = Manifest(fingerprint=fingerprint, asset=ref, files=files)
    replace(folder / MANIFEST, manifest.model_dump_json().encode(), disk)
    return ref


def swap(partial: Path, target: Path, disk: FileSystem = DISK) -> None:
    """Replace the folder that is there by the finished one."""
    old = target.with_name(f".{target.name}.old")
    disk.rmtree(old)
    if target.exists():
        disk.replace(target, old)
    disk.replace(partial, target)
    disk.fsync(target.parent)
    with suppress(OSError):  # what is left goes the next time
        disk.rmtree(old)


@contextmanager
def _out_of_space(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise AssetError(
            f"no space left for {target}; free some space, then run again: all finished work is kept"
        ) from error


def _parquet_bytes(rows: list[Record]) -> bytes:
    import io

    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame([row.model_dump() for row in rows]).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _parquet_rows(data: bytes, record: type[Record]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A column that only some rows have is None in the others.
    optional = {name for name, known in record.model_fields.items() if not known.is_required()}
    for row in pq.read_table(pa.BufferReader(data)).to_pylist():
        yield record.model_validate({key: v for key, v in row.items() if v is not None or key not in optional})
