"""Weights out of safetensors files, a few megabytes at a time and without torch: bf16 is f32 with its end cut off."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from understudy.errors import ExportError

CHUNK_VALUES = 2**18
DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
BLOCKS = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q8_0": (32, 34)}
"""Type > the values of one block, and its bytes."""
LARGEST = {"F16": 65504.0, "Q8_0": 65504.0 * 127}
_F16_INFINITY, _BF16_INFINITY, _NO_SIGN = 0x7C00, 0x7F80, 0x7FFF


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
    """One tensor on its way into the GGUF file; it is read, converted and written in chunks of rows.

    It offers `nbytes` and `tofile`, which is all that GGUFWriter.write_tensor_data asks of an array.
    """

    stored: Stored
    type: str
    pair_rows: int = 0
    """Rows of one head when its halves must be interleaved for llama.cpp, else 0."""
    added: float = 0.0
    """What every value gains."""

    @property
    def nbytes(self) -> int:
        """Bytes in the GGUF file."""
        values, size = BLOCKS[self.type]
        return int(np.prod(self.stored.shape)) // values * size

    @property
    def _width(self) -> int:
        return int(np.prod(self.stored.shape[1:]))

    def tofile(self, out: BinaryIO) -> None:
        """Append the values to `out`. Raises ExportError for one that is not a number, or too large."""
        for stored in self._chunks():
            values = interleaved(stored, self.pair_rows, self._width) if self.pair_rows else stored
            encoded = self._encoded(values)
            if encoded is None:
                raise ExportError(self._complaint(_floats(values, self.stored.dtype)))
            out.write(encoded.data)

    def _chunks(self) -> Iterator[np.ndarray]:
        """Whole rows as they are stored; bf16 as its bits."""
        rows, width = self.stored.shape[0], self._width
        step = max(1, CHUNK_VALUES // width)
        if self.pair_rows:
            step = max(self.pair_rows, step - step % self.pair_rows)  # never part a head
        with self.stored.file.open("rb") as file:
            file.seek(self.stored.offset)
            for first in range(0, rows, step):
                count = min(step, rows - first) * width
                values = np.fromfile(file, dtype=DTYPES[self.stored.dtype], count=count)
                if values.size < count:
                    raise ExportError(f"{self.stored.file.name}: ends inside {self.stored.name}; copy it again")
                yield values

    def _encoded(self, values: np.ndarray) -> np.ndarray | None:
        """The bytes for the file; None when a value is not finite in it."""
        kind = self.stored.dtype
        if kind == self.type != "F32" and not self.added:
            limit = _F16_INFINITY if kind == "F16" else _BF16_INFINITY
            return values if (values.view(np.uint16) & _NO_SIGN).max() < limit else None
        if (kind, self.type) == ("BF16", "F16"):
            halves = _half_of_bf16()[values]
            return halves if (halves & _NO_SIGN).max() < _F16_INFINITY else None
        floats = _floats(values, kind)
        if self.added:
            floats = floats + np.float32(self.added)
        if not np.isfinite(floats).all() or np.abs(floats).max() > LARGEST.get(self.type, np.inf):
            return None
        if self.type in ("F16", "F32"):
            return floats.astype(DTYPES[self.type])
        from gguf import GGMLQuantizationType
        from gguf.quants import quantize

        return quantize(floats.reshape(-1, self.stored.shape[-1]), GGMLQuantizationType[self.type]).view(np.uint8)

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


def _floats(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)


@cache
def _half_of_bf16() -> np.ndarray:
    """The f16 bits of every bf16: looking them up takes a quarter of the time of computing them."""
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
    found = {name: tensor for shard in sorted(set(shards.values())) for name, tensor in tensors(model / shard).items()}
    lost = sorted(name for name in shards if name not in found)
    if lost:
        raise ExportError(f"{model / shards[lost[0]]}: has no {lost[0]}, where {INDEX} says it is")
    return found


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
