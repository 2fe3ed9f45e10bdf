"""The weights of a GGUF file as safetensors files: a few rows of one tensor in memory for each thread."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from understudy.bases.gguf_config import Source, dequantized, raw_rows
from understudy.errors import ConfigError
from understudy.gguf.header import Header
from understudy.gguf.weights import CHUNK_VALUES, DTYPES, INDEX, SINGLE, halves_together
from understudy.interfaces import Progress

SHARD_BYTES = 4_000_000_000
SPARE_BYTES = 100_000_000
THREADS = 4
KEPT = ("F32", "F16", "BF16")
"""Types that stay as they are; every quantization becomes F16, which is what an exported file has."""


class Part(NamedTuple):
    """Some rows of a tensor, and where they go."""

    source: Source
    dtype: str
    shard: int
    place: int
    """Where the tensor begins in its shard."""
    first: int
    rows: int


def dtypes(header: Header, sources: Sequence[Source]) -> dict[str, str]:
    """Name > dtype in the folder.

    Norms and biases are F32 in every GGUF file. They become what the matrices are where no bit is lost by it, as
    none is of a model that was trained in 16 bits: MLX computes everything in 32 bits where one of them is.
    """
    matrices = Counter[str]()
    for source in sources:
        if len(source.tensor.shape) > 1:
            matrices[_dtype(source.tensor.type)] += source.tensor.values
    usual = matrices.most_common(1)[0][0]
    return {
        source.name: _dtype(source.tensor.type)
        if len(source.tensor.shape) > 1
        else usual
        if _fits(_values(header, source, 0, source.tensor.shape[0]), usual)
        else "F32"
        for source in sources
    }


def write(header: Header, sources: Sequence[Source], kinds: dict[str, str], out: Path, progress: Progress) -> None:
    """Write every tensor into folder `out`, and an index where there are several files.

    Raises ConfigError, before the first byte when there is no room.
    """
    shards = list(_shards(sources, kinds))
    total = sum(_nbytes(source, kinds) for source in sources)
    if (free := shutil.disk_usage(out).free) < total + SPARE_BYTES:
        needed = f"{(total + SPARE_BYTES) / 1e9:.1f} GB"
        raise ConfigError(
            [f"base: unpacked it takes {needed} in {out}, and {free / 1e9:.1f} GB are free; free some, or set --home"]
        )
    names = [SINGLE] if len(shards) == 1 else _numbered(len(shards))
    with ExitStack() as opened:
        files, parts = list[int](), list[Part]()
        for number, (name, shard) in enumerate(zip(names, shards, strict=True)):
            file = opened.enter_context((out / name).open("wb"))
            files.append(file.fileno())
            parts += _parts(shard, kinds, number, _begin(file.fileno(), shard, kinds))
        _fill(header, files, parts, total, progress)
    if len(shards) > 1:
        where = {source.name: name for name, shard in zip(names, shards, strict=True) for source in shard}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (out / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _numbered(count: int) -> list[str]:
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _dtype(type: str) -> str:
    return type if type in KEPT else "F16"


def _nbytes(source: Source, kinds: dict[str, str]) -> int:
    return source.tensor.values * DTYPES[kinds[source.name]].itemsize


def _shards(sources: Sequence[Source], kinds: dict[str, str]) -> Iterator[list[Source]]:
    """The tensors in runs of at most SHARD_BYTES."""
    shard: list[Source] = []
    for source in sources:
        if shard and sum(_nbytes(one, kinds) for one in (*shard, source)) > SHARD_BYTES:
            yield shard
            shard = []
        shard.append(source)
    yield shard


def _begin(file: int, shard: Sequence[Source], kinds: dict[str, str]) -> int:
    """Write the header of a safetensors file and make it as long as it will be; where its weights begin."""
    header, at = {}, 0
    for source in shard:
        end = at + _nbytes(source, kinds)
        header[source.name] = {"dtype": kinds[source.name], "shape": source.tensor.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    os.pwrite(file, len(text).to_bytes(8, "little") + text, 0)
    os.truncate(file, 8 + len(text) + at)
    return 8 + len(text)


def _parts(shard: Sequence[Source], kinds: dict[str, str], number: int, start: int) -> Iterator[Part]:
    for source in shard:
        rows, width = source.tensor.shape[0], source.tensor.values // source.tensor.shape[0]
        step = max(1, CHUNK_VALUES // width)
        if source.head:
            step = max(source.head, step - step % source.head)  # no head whose rows move is split
        for first in range(0, rows, step):
            yield Part(source, kinds[source.name], number, start, first, min(step, rows - first))
        start += _nbytes(source, kinds)


def _fill(header: Header, files: Sequence[int], parts: Sequence[Part], total: int, progress: Progress) -> None:
    def write_part(part: Part) -> int:
        values = _stored(header, part)
        width = values.nbytes // part.rows
        os.pwrite(files[part.shard], np.ascontiguousarray(values).data, part.place + part.first * width)
        return values.nbytes

    done = 0
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        try:
            for part, written in zip(parts, threads.map(write_part, parts), strict=True):
                done += written
                progress(done // 1_000_000, total // 1_000_000, f"MB of weights, {part.source.name}")
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise


def _stored(header: Header, part: Part) -> np.ndarray:
    """The rows as they are stored. Raises ConfigError for values that are not finite in F16."""
    source, kind = part.source, part.dtype
    if source.tensor.type == kind and not source.added:
        content = raw_rows(header, source.tensor, part.first, part.rows)
        return _moved(content.view(DTYPES[kind]), source)
    values = _values(header, source, part.first, part.rows)
    stored = _moved(_narrow(values, kind), source)
    if kind == "F16" and not np.isfinite(stored).all():
        raise ConfigError(
            [f"base: {header.file}: {source.tensor.name} holds NaN, or values that F16 has no room for; damaged?"]
        )
    return stored


def _moved(values: np.ndarray, source: Source) -> np.ndarray:
    return halves_together(values, source.head, values.size // values.shape[0]) if source.head else values


def _values(header: Header, source: Source, first: int, rows: int) -> np.ndarray:
    """Rows in float32, less what the file's values have on top."""
    values = dequantized(header, source.tensor, first, rows)
    return values - np.float32(source.added) if source.added else values


def _narrow(values: np.ndarray, kind: str) -> np.ndarray:
    """float32 as `kind`; only what _fits becomes BF16, so nothing is rounded there."""
    if kind == "BF16":
        return (np.ascontiguousarray(values).view(np.uint32) >> 16).astype(np.uint16)
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(DTYPES[kind]))


def _fits(values: np.ndarray, kind: str) -> bool:
    """Whether `kind` holds every value exactly."""
    if kind == "BF16":
        return not np.any(np.ascontiguousarray(values).view(np.uint32) & 0xFFFF)
    return bool(np.array_equal(_narrow(values, kind).astype(np.float32), values))
