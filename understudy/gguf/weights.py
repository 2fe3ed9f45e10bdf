"""Weights out of safetensors files, a few megabytes at a time and without torch: bf16 is the upper half of f32."""

import json
import os
import threading
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from understudy.errors import ExportError

CHUNK_VALUES = 2**18
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
BLOCKS = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q8_0": (32, 34)}
"""Type > the values of one block, and its bytes."""
LARGEST = {"F16": 65504.0, "Q8_0": 65504.0 * 127}
_INFINITY = {"F16": 0x7C00, "BF16": 0x7F80}
_SIGN, _NO_SIGN = np.uint16(0x8000), np.uint16(0x7FFF)
_TOO_LARGE = 0x4780
"""The bits of the bf16 65536, which is infinite in f16."""
_SMALLEST_NORMAL, _BIAS = np.uint16(113 << 7), np.uint16(112 << 7)
"""The bits of the bf16 2 ** -14, from which on f16 keeps all bits; the exponents' biases differ by 112."""


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies."""

    name: str
    file: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def parts(self, count: int) -> "list[Stored]":
        """Its rows in `count` equal runs."""
        rows, *columns = self.shape
        size = int(np.prod(self.shape)) * DTYPES[self.dtype].itemsize // count
        shape = (rows // count, *columns)
        return [replace(self, offset=self.offset + number * size, shape=shape) for number in range(count)]

    def read(self) -> np.ndarray:
        """All of it, in float32."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            values = np.fromfile(file, dtype=DTYPES[self.dtype], count=int(np.prod(self.shape)))
        return _floats(values, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Converted:
    """One tensor on its way into the GGUF file, in chunks of rows that several threads may make at once."""

    stored: Stored
    type: str
    pair_rows: int = 0
    """Rows of one head when its halves must be interleaved for llama.cpp, else 0."""
    added: float = 0.0
    """Added to every value."""

    @property
    def nbytes(self) -> int:
        """Bytes in the GGUF file."""
        return self._bytes(int(np.prod(self.stored.shape)))

    @property
    def _width(self) -> int:
        return int(np.prod(self.stored.shape[1:]))

    def chunks(self) -> list[tuple[int, int]]:
        """First row and number of rows of each chunk; no head whose rows move is split."""
        rows, step = self.stored.shape[0], max(1, CHUNK_VALUES // self._width)
        if self.pair_rows:
            step = max(self.pair_rows, step - step % self.pair_rows)
        return [(first, min(step, rows - first)) for first in range(0, rows, step)]

    def chunk(self, source: int, first: int, rows: int) -> tuple[int, np.ndarray]:
        """Where these rows begin in the tensor, in bytes, and their bytes; `source` is the open file of weights.

        The thread's next chunk takes the same memory. Raises ExportError for a value that is NaN or too large.
        """
        values = _own.buffer("read", rows * self._width, DTYPES[self.stored.dtype])
        place = self.stored.offset + first * self._width * values.itemsize
        if os.preadv(source, [values.data], place) < values.nbytes:
            raise ExportError(f"{self.stored.file.name}: ends inside {self.stored.name}; copy it again")
        moved = interleaved(values, self.pair_rows, self._width) if self.pair_rows else values
        encoded = self._encoded(moved)
        if encoded is None:
            raise ExportError(self._complaint(_floats(values, self.stored.dtype)))
        return self._bytes(first * self._width), encoded

    def _bytes(self, values: int) -> int:
        block, size = BLOCKS[self.type]
        return values // block * size

    def _encoded(self, values: np.ndarray) -> np.ndarray | None:
        """The bytes for the file; None when a value is not finite in it."""
        kind = self.stored.dtype
        if kind == self.type != "F32" and not self.added:
            return values if _finite(values, _INFINITY[kind]) else None
        if (kind, self.type) == ("BF16", "F16") and not self.added:
            return _half_of_bf16(values) if _finite(values, _TOO_LARGE) else None
        floats = _floats(values, kind)
        if self.added:
            floats = floats + np.float32(self.added)
        if not np.isfinite(floats).all() or np.abs(floats).max() > LARGEST.get(self.type, np.inf):
            return None
        if self.type in ("F16", "F32"):
            return np.asarray(floats.astype(DTYPES[self.type]))
        from gguf import GGMLQuantizationType
        from gguf.quants import quantize

        blocks = quantize(floats.reshape(-1, self.stored.shape[-1]), GGMLQuantizationType[self.type])
        return np.asarray(blocks.view(np.uint8))

    def _complaint(self, values: np.ndarray) -> str:
        where = f"{self.stored.name} in {self.stored.file.name}"
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinity"
            return f"{where}: holds {kind}; training went wrong or the file is damaged: fuse an earlier adapter"
        largest = float(np.abs(values).max())
        return (
            f"{where}: holds {largest:g}, and {self.type} ends at {LARGEST[self.type]:g}: "
            f"this model cannot be written as {self.type}; bf16 has room for it"
        )


def interleaved(values: np.ndarray, head: int, width: int) -> np.ndarray:
    """Rows of `width` values, the two halves of each head of `head` rows taken in turn, as llama.cpp rotates them."""
    halves = values.reshape(-1, 2, head // 2, width)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def halves_together(values: np.ndarray, head: int, width: int) -> np.ndarray:
    """The way back from `interleaved`: rows of `width` values, each head's even rows before its odd ones."""
    pairs = values.reshape(-1, head // 2, 2, width)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def _floats(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)


class _Buffers(threading.local):
    """Memory a thread uses again for each chunk: allocating it took longer than converting."""

    def __init__(self) -> None:
        self.held: dict[str, np.ndarray] = {}

    def buffer(self, role: str, count: int, dtype: "np.dtype[Any] | str") -> np.ndarray:
        """Room for `count` numbers, with whatever was in it."""
        needed = count * np.dtype(dtype).itemsize
        if role not in self.held or self.held[role].nbytes < needed:
            self.held[role] = np.empty(needed, np.uint8)
        return self.held[role][:needed].view(dtype)


_own = _Buffers()


def _finite(values: np.ndarray, limit: int) -> bool:
    """Whether the bits without their sign stay below `limit`, in two passes that write nothing."""
    signed = values.view(np.int16)
    return bool(signed.max() < limit and values.view(np.uint16).max() < limit + _SIGN)


def _half_of_bf16(values: np.ndarray) -> np.ndarray:
    """The f16 bits of finite bf16: three bits to the left with another bias, since f16 has room for every fraction.

    Values that f16 keeps with fewer bits or not at all are few in a model, and looked up.
    """
    halves, sign, low = (_own.buffer(n, values.size, k) for n, k in (("halves", "<u2"), ("sign", "<u2"), ("low", "?")))
    np.bitwise_and(values, _NO_SIGN, out=halves)
    small = np.flatnonzero(np.less(halves, _SMALLEST_NORMAL, out=low))
    halves -= _BIAS
    halves <<= 3
    halves |= np.bitwise_and(values, _SIGN, out=sign)
    if small.size:
        halves[small] = _small_halves()[values[small]]
    return halves


@cache
def _small_halves() -> np.ndarray:
    """The f16 bits of every bf16, rounded to the nearest."""
    with np.errstate(over="ignore"):
        return _floats(np.arange(2**16, dtype=np.uint16), "BF16").astype(np.float16).view(np.uint16)


def index(model: Path) -> dict[str, Stored]:
    """Every tensor of the folder `model`, by its name, shard by shard. Raises ExportError for what is not there."""
    listed = model / INDEX
    if not listed.exists():
        if not (model / SINGLE).exists():
            raise ExportError(f"{model}: holds neither {SINGLE} nor {INDEX}; is this a fused model folder?")
        return tensors(model / SINGLE)
    try:
        shards: dict[str, str] = json.loads(listed.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{listed}: cannot be read as an index of shards: {error!r}") from None
    missing = sorted(name for name in set(shards.values()) if not (model / name).exists())
    if missing:
        raise ExportError(f"{model}: {INDEX} lists {', '.join(missing)}, which is not there; fuse or download it again")
    stored = {name: tensor for shard in sorted(set(shards.values())) for name, tensor in tensors(model / shard).items()}
    lost = sorted(name for name in shards if name not in stored)
    if lost:
        raise ExportError(f"{model / shards[lost[0]]}: has no {lost[0]}, where {INDEX} says it is")
    return stored


def tensors(file: Path) -> dict[str, Stored]:
    """Every tensor of one safetensors file, by its name. Raises ExportError."""
    from gguf.utility import SafetensorsLocal

    try:
        listed = SafetensorsLocal(file).tensors
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{file}: not a whole safetensors file ({error}); fuse or download it again") from None
    size = file.stat().st_size
    for name, tensor in listed.items():
        if name.endswith((".scales", ".biases")) or tensor.dtype == "U32":
            raise ExportError(
                f"{file}: {name} ({tensor.dtype}) belongs to weights that MLX quantized; "
                "fuse the adapter into the full-precision base (bf16 or f16) and convert that"
            )
        if tensor.dtype not in DTYPES:
            raise ExportError(f"{file}: {name} is stored as {tensor.dtype}; supported: {', '.join(DTYPES)}")
        if tensor.data_range.offset + tensor.data_range.size > size:
            raise ExportError(f"{file}: cut short inside {name}: {size:,} bytes; fuse or download it again")
        expected = int(np.prod(tensor.shape)) * DTYPES[tensor.dtype].itemsize
        if tensor.data_range.size != expected:
            raise ExportError(f"{file}: {name} takes {tensor.data_range.size:,} bytes, its shape needs {expected:,}")
    return {
        name: Stored(name, file, tensor.data_range.offset, tensor.dtype, tensor.shape)
        for name, tensor in listed.items()
    }
