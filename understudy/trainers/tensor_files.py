"""Safetensors files whole and as stored, written in one step; names in order, so that equal tensors are equal bytes."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from understudy.errors import AssetError
from understudy.trainers import merge
from understudy.trainers.merge import Array

STORED = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "U8": np.uint8,
}  # fmt: skip
ALIGNED = 8
"""The tensors begin at a multiple of this many bytes."""


class Tensor(NamedTuple):
    """Numbers as a file stores them: bfloat16 as the 16 bits of each."""

    dtype: str
    values: Array


def plain(values: Array) -> Tensor:
    """An array of numpy's under the name of its type."""
    return Tensor(next(name for name, kind in STORED.items() if values.dtype == kind), values)


def read(file: Path) -> dict[str, Tensor]:
    """Every tensor of a file. Raises AssetError."""
    places = merge.tensors(file)
    content = file.read_bytes()
    try:
        return {
            name: Tensor(
                place.dtype,
                np.frombuffer(content, STORED[place.dtype], place.size, place.start).reshape(place.shape),
            )
            for name, place in places.items()
        }
    except (KeyError, ValueError) as error:
        raise AssetError(f"{file} cannot be read as safetensors ({error}); make it again") from None


def metadata(file: Path) -> dict[str, str]:
    """What a file says of itself; {} when nothing. Raises AssetError."""
    merge.tensors(file)
    with file.open("rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    return dict(header.get("__metadata__", {}))


def write(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Replace `file` in one step: a reader sees the old weights or the new ones. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in sorted(tensors):
        values = tensors[name].values
        offsets = [at, at + values.nbytes]
        header[name] = {"dtype": tensors[name].dtype, "shape": list(values.shape), "data_offsets": offsets}
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with temporary.open("wb") as opened:
            opened.write(len(text).to_bytes(8, "little") + text)
            for name in sorted(tensors):
                opened.write(np.ascontiguousarray(tensors[name].values).data)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)  # half a file is of no use, its space is
        raise
