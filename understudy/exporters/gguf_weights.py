"""Weights out of safetensors files, a few megabytes at a time and without torch: bf16 is f32 with its end cut off."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from understudy.errors import ExportError

CHUNK_VALUES = 2**22
DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies."""

    name: str
    file: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Converted:
    """One tensor on its way into the GGUF file; it is read, converted and written in chunks of rows.

    It offers `nbytes` and `tofile`, which is all that GGUFWriter.write_tensor_data asks of an array.
    """

    stored: Stored
    target: np.dtype
    pair_rows: int = 0
    """Rows of one head when its halves must be interleaved for llama.cpp, else 0."""

    @property
    def nbytes(self) -> int:
        """Bytes in the GGUF file."""
        return int(np.prod(self.stored.shape)) * self.target.itemsize

    def tofile(self, out: BinaryIO) -> None:
        """Append the values to `out`. Raises ExportError for one that is not a number, or too large."""
        for values in self._chunks():
            with np.errstate(over="ignore"):  # looked for below, in one pass with NaN
                result = values.astype(self.target)
            if not np.isfinite(result).all():
                raise ExportError(self._complaint(values))
            result.tofile(out)

    def _chunks(self) -> Iterator[np.ndarray]:
        rows, *columns = self.stored.shape
        width = int(np.prod(columns))
        step = max(1, CHUNK_VALUES // width)
        if self.pair_rows:
            step = max(self.pair_rows, step - step % self.pair_rows)  # never part a head
        dtype = DTYPES[self.stored.dtype]
        with self.stored.file.open("rb") as file:
            file.seek(self.stored.offset)
            for first in range(0, rows, step):
                count = min(step, rows - first) * width
                values = np.fromfile(file, dtype=dtype, count=count)
                if values.size < count:
                    raise ExportError(f"{self.stored.file.name}: ends inside {self.stored.name}; copy it again")
                if self.stored.dtype == "BF16":
                    values = (values.astype(np.uint32) << 16).view(np.float32)
                if self.pair_rows:
                    halves = values.reshape(-1, 2, self.pair_rows // 2, width)
                    values = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(-1)
                yield values

    def _complaint(self, values: np.ndarray) -> str:
        where = f"{self.stored.name} in {self.stored.file.name}"
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinity"
            return f"{where}: holds {kind}; training went wrong or the file is damaged: fuse an earlier adapter"
        largest = float(np.abs(values).max())
        return f"{where}: holds {largest:g}, and f16 ends at 65504: this model cannot be written as f16"


def index(model: Path) -> dict[str, Stored]:
    """Every tensor of the folder `model`, by its name, shard by shard. Raises ExportError for what is not there."""
    listed = model / INDEX
    if not listed.exists():
        if not (model / SINGLE).exists():
            raise ExportError(f"{model}: holds neither {SINGLE} nor {INDEX}; is this a fused model folder?")
        return _tensors(model / SINGLE)
    try:
        shards: dict[str, str] = json.loads(listed.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{listed}: cannot be read as an index of shards: {error!r}") from None
    missing = sorted(name for name in set(shards.values()) if not (model / name).exists())
    if missing:
        raise ExportError(f"{model}: {INDEX} lists {', '.join(missing)}, which is not there; fuse or download it again")
    found = {name: tensor for shard in sorted(set(shards.values())) for name, tensor in _tensors(model / shard).items()}
    lost = sorted(name for name in shards if name not in found)
    if lost:
        raise ExportError(f"{model / shards[lost[0]]}: has no {lost[0]}, where {INDEX} says it is")
    return found


def _tensors(file: Path) -> dict[str, Stored]:
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
