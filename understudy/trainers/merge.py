"""
Merging a LoRA adapter into safetensors files, without mlx and without loading the model.

Each shard is copied and only the adapted weights are written over, in place: every other byte,
every name, every dtype and the split into shards stay the base's own.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from understudy.errors import AssetError
from understudy.interfaces import Report


class Tensor(NamedTuple):
    """Where one tensor lies in its file."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.shape, dtype=np.int64))


class Delta(NamedTuple):
    """What one adapted weight gains: scale * (b^T @ a^T), with a [inputs, rank] and b [rank, outputs]."""

    a: np.ndarray
    b: np.ndarray
    scale: float

    def matrix(self) -> np.ndarray:
        """The gain in float32, [outputs, inputs] as Hugging Face stores weights."""
        return np.float32(self.scale) * (self.b.T @ self.a.T)


def tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, read from its header. Raises AssetError."""
    try:
        with file.open("rb") as content:
            size = int.from_bytes(content.read(8), "little")
            header = json.loads(content.read(size))
        header.pop("__metadata__", None)
        return {
            name: Tensor(entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])
            for name, entry in header.items()
        }
    except (OSError, ValueError, KeyError) as error:
        raise AssetError(f"{file} cannot be read as safetensors: {error}; make the asset it belongs to again") from None


def shards(model: Path) -> list[Path]:
    """The weight files mlx-lm and transformers load from a Hugging Face folder. Raises AssetError."""
    files = sorted(model.glob("model*.safetensors"))
    if not files:
        raise AssetError(f"{model} holds no model*.safetensors; prepare the base again")
    return files


def deltas(adapter: Path) -> dict[str, Delta]:
    """Weight name > its gain, for every layer the adapter in folder `adapter` changes."""
    scale = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["lora_parameters"]["scale"]
    file = adapter / "adapters.safetensors"
    held = tensors(file)
    stems = sorted(name.removesuffix(".lora_a") for name in held if name.endswith(".lora_a"))
    if not stems or len(held) != 2 * len(stems):
        raise AssetError(f"{file} holds something else than lora_a and lora_b of each layer; train again")
    return {
        f"{stem}.weight": Delta(_read(file, held[f"{stem}.lora_a"]), _read(file, held[f"{stem}.lora_b"]), float(scale))
        for stem in stems
    }


def merge(base: Path, gains: dict[str, Delta], out: Path, report: Report) -> tuple[int, int]:
    """Write the shards of `base` with `gains` added into `out`; (weights changed, weights in all)."""
    changed = total = done = 0
    for shard in shards(base):
        copy = out / shard.name
        shutil.copyfile(shard, copy)
        for name, tensor in tensors(copy).items():
            total += tensor.size
            if name in gains:
                changed += _add(copy, tensor, gains[name])
                done += 1
                report(done, len(gains), name)
    return changed, total


def missing(base: Path, gains: dict[str, Delta]) -> list[str]:
    """Adapted weights that the base's files do not hold under that name and shape."""
    held = {name: tensor for shard in shards(base) for name, tensor in tensors(shard).items()}
    return sorted(
        name
        for name, gain in gains.items()
        if name not in held or held[name].shape != (gain.b.shape[1], gain.a.shape[0])
    )


def copy_companions(base: Path, out: Path) -> None:
    """Copy config, tokenizer and template byte for byte."""
    for file in companions(base):
        shutil.copyfile(file, out / file.name)


def companions(model: Path) -> Iterator[Path]:
    """The files of a Hugging Face folder that are neither weights nor a log."""
    for file in sorted(model.iterdir()):
        if file.is_file() and file.suffix not in (".safetensors", ".log"):
            yield file


def _add(file: Path, tensor: Tensor, gain: Delta) -> int:
    """Add `gain` to one tensor in place; how many of its numbers differ now."""
    place = _map(file, tensor, "r+")
    old = place.copy()
    place[:] = _narrow(_widen(old, tensor.dtype) + gain.matrix(), tensor.dtype)
    place.flush()
    return int(np.count_nonzero(place != old))


def _read(file: Path, tensor: Tensor) -> np.ndarray:
    return np.array(_widen(_map(file, tensor, "r"), tensor.dtype))


_STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def _map(file: Path, tensor: Tensor, mode: str) -> np.memmap:
    if tensor.dtype not in _STORED:
        raise AssetError(
            f"{file.name} stores weights as {tensor.dtype}, not as one of {', '.join(_STORED)}; "
            "take a base in full precision"
        )
    return np.memmap(file, dtype=_STORED[tensor.dtype], mode=mode, offset=tensor.start, shape=tensor.shape)


def _widen(stored: np.ndarray, dtype: str) -> np.ndarray:
    """As float32; bfloat16 is the upper half of one."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def _narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """Back to what the file stores, rounded to the nearest, ties to even."""
    if dtype != "BF16":
        return values.astype(_STORED[dtype])
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
