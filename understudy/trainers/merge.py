"""
Merging a LoRA adapter into safetensors files, without mlx and without loading the model.

Each shard is copied and only the adapted weights are written over, in place and a few rows at a time: every
other byte, every name, every dtype and the split into shards stay the base's own.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from understudy.errors import AssetError
from understudy.interfaces import Progress

CHUNK_VALUES = 2**16
"""At a time: what stays in a core's own cache took an eighth of the time of 2 ** 20."""
Array = np.ndarray[Any, np.dtype[Any]]
INDEX = "model.safetensors.index.json"
PACKED = (".scales", ".biases")
"""Endings of what belongs to weights that MLX quantized."""
PARTED = {
    "shared_mlp.input_linear.": ("mlp.gate_proj.", "mlp.up_proj."),
    "shared_mlp.output_linear.": ("mlp.down_proj.",),
}
"""In Granite 4's files > the weights mlx makes of it, each an equal run of its rows."""
LAYERS, NOT_TEXT = ".layers.", ("vision", "visual", "audio", "mtp.")
STACKED, EACH = "switch_mlp.", "experts."
"""The experts of a layer as mlx stacks them, and as the files number them."""
EXPERT_NAMES = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
"""mlx's name of a part of an expert > Mixtral's."""


class Merged(NamedTuple):
    """What came of a merge."""

    changed: int
    """Weights that differ from the base's."""
    parameters: int


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

    a: Array
    b: Array
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs, as Hugging Face stores weights."""
        return self.b.shape[1], self.a.shape[0]

    def matrix(self, rows: slice = slice(None)) -> Array:
        """Some rows of the gain in float32, [outputs, inputs]."""
        return np.float32(self.scale) * (self.b.T[rows] @ self.a.T)


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
    if (model / INDEX).exists():
        names = set(json.loads((model / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        if absent := sorted(names - {file.name for file in files}):
            raise AssetError(f"{model}: {INDEX} lists {', '.join(absent)}, which is not there; prepare the base again")
    return files


def deltas(adapter: Path) -> dict[str, Delta]:
    """Weight name > its gain, for every layer the adapter in folder `adapter` changes. Raises AssetError.

    Of stacked experts each has a gain of its own, under the layer's name and its number.
    """
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    file, scale = adapter / "adapters.safetensors", float(settings["lora_parameters"]["scale"])
    halves = tensors(file)
    stems = sorted(name.removesuffix(".lora_a") for name in halves if name.endswith(".lora_a"))
    if not stems or len(halves) != 2 * len(stems):
        raise AssetError(f"{file} holds something else than lora_a and lora_b of each layer; train again")
    gains = {}
    for stem in stems:
        a, b = (_read(file, halves[f"{stem}.lora_{half}"]) for half in "ab")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise AssetError(f"{file}: {stem} holds NaN or infinity; training went wrong: lower trainer.learning_rate")
        if a.ndim == 2:
            gains[f"{stem}.weight"] = Delta(a, b, scale)
        else:  # [experts, rank, inputs] and [experts, outputs, rank]
            gains |= {f"{stem}.{n}.weight": Delta(a[n].T, b[n].T, scale) for n in range(len(a))}
    return gains


def merge(base: Path, gains: dict[str, Delta], out: Path, progress: Progress) -> Merged:
    """Write the shards of `base` with `gains` added into `out`. Raises AssetError."""
    for shard in shards(base):
        shutil.copyfile(shard, out / shard.name)
    return add(out, gains, progress)


def add(model: Path, gains: dict[str, Delta], progress: Progress) -> Merged:
    """Add `gains` to the weights of `model` in place. Raises AssetError where it does not have them."""
    if absent := missing(model, gains):
        raise AssetError(f"the adapter changes {absent[0]}, which the base lacks: it was trained on another base")
    changed = total = done = 0
    for shard in shards(model):
        for name, tensor in tensors(shard).items():
            total += tensor.size
            if name in gains:
                changed += _add(shard, tensor, gains[name])
                done += 1
                progress(done, len(gains), name)
    return Merged(changed, total)


def renamed(base: Path, gains: dict[str, Delta]) -> dict[str, Delta]:
    """The same gains under the names of the base's files, where mlx has others for some of their weights."""
    names = {name for shard in shards(base) for name in tensors(shard)}
    gains = {_of_expert(name, names): gain for name, gain in gains.items()}
    gains = {_in_larger(name, names): gain for name, gain in gains.items()}
    for name in names:
        whole = next((whole for whole in PARTED if whole in name), None)
        parts = [name.replace(whole, part) for part in PARTED[whole]] if whole else []
        if any(part in gains for part in parts):
            gains[name] = _stacked([gains.pop(part, None) for part in parts])
    return gains


def _of_expert(name: str, names: set[str]) -> str:
    """The name of an expert's weight in the base's files, where `names` has it; else `name`."""
    if STACKED not in name:
        return name
    layer, _, part = name.partition(STACKED)
    what, number, _ = part.split(".")
    known = (f"{layer}{EACH}{number}.{own}.weight" for own in (what, EXPERT_NAMES.get(what, what)))
    return next((one for one in known if one in names), name)


def _in_larger(name: str, names: set[str]) -> str:
    """The name of a weight in a model that holds more than text, where the text's begin otherwise; else `name`."""
    if name in names:
        return name
    ending = LAYERS + name.partition(LAYERS)[2]
    there = [own for own in names if own.endswith(ending) and not any(part in own for part in NOT_TEXT)]
    return there[0] if len(there) == 1 else name


def _stacked(parts: list[Delta | None]) -> Delta:
    """One gain for equal runs of rows, each of which has one of its own or, for None, stays as it is."""
    changed = [part for part in parts if part]
    outputs, ranks = changed[0].shape[0], [len(part.b) if part else 0 for part in parts]
    a, b = (
        np.concatenate([part.a for part in changed], axis=1),
        np.zeros((sum(ranks), outputs * len(parts)), np.float32),
    )
    for run, part in enumerate(parts):
        if part:
            b[sum(ranks[:run]) : sum(ranks[: run + 1]), run * outputs : (run + 1) * outputs] = part.b
    return Delta(a, b, changed[0].scale)


def missing(base: Path, gains: dict[str, Delta]) -> list[str]:
    """Adapted weights that the base's files do not hold under that name and shape."""
    weights = {name: tensor for shard in shards(base) for name, tensor in tensors(shard).items()}
    return sorted(name for name, gain in gains.items() if name not in weights or weights[name].shape != gain.shape)


def companions(model: Path) -> Iterator[Path]:
    """The files of a Hugging Face folder that are neither weights nor a log, nor about the folder itself."""
    for file in sorted(model.iterdir()):
        own = file.name == "card.json" or file.name.startswith(".")
        if file.is_file() and file.suffix not in (".safetensors", ".log") and not own:
            yield file


def _add(file: Path, tensor: Tensor, gain: Delta) -> int:
    """Add `gain` to one tensor in place; how many of its numbers differ now."""
    outputs, inputs = tensor.shape
    dtype, step, changed = _dtype(file, tensor), max(1, CHUNK_VALUES // inputs), 0
    with file.open("r+b") as content:
        for first in range(0, outputs, step):
            rows = slice(first, min(first + step, outputs))
            place = tensor.start + first * inputs * dtype.itemsize
            content.seek(place)
            old = np.fromfile(content, dtype=dtype, count=(rows.stop - first) * inputs).reshape(-1, inputs)
            new = plus(old, tensor.dtype, gain, rows)
            changed += int(np.count_nonzero(new != old))
            content.seek(place)
            new.tofile(content)
    return changed


def plus(old: Array, dtype: str, gain: Delta, rows: slice = slice(None)) -> Array:
    """Rows of a weight as its file stores them, plus the gain, rounded once. Raises AssetError where it overflows."""
    new = narrow(widen(old, dtype) + gain.matrix(rows), dtype)
    if not np.isfinite(widen(new, dtype)).all() and np.isfinite(widen(old, dtype)).all():
        raise AssetError(f"a merged weight is too large for {dtype}; lower trainer.alpha or the learning rate")
    return new


def _read(file: Path, tensor: Tensor) -> Array:
    dtype = _dtype(file, tensor)
    with file.open("rb") as content:
        content.seek(tensor.start)
        return widen(np.fromfile(content, dtype=dtype, count=tensor.size), tensor.dtype).reshape(tensor.shape)


_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(np.uint16),
}


def _dtype(file: Path, tensor: Tensor) -> np.dtype[Any]:
    if tensor.dtype not in _DTYPES:
        raise AssetError(
            f"{file.name} stores weights as {tensor.dtype}, not as one of {', '.join(_DTYPES)}; "
            "take a base in full precision"
        )
    return _DTYPES[tensor.dtype]


def widen(stored: Array, dtype: str) -> Array:
    """As float32; bfloat16 is the upper half of one."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def narrow(values: Array, dtype: str) -> Array:
    """Back to what the file stores, rounded to the nearest, ties to even."""
    if dtype != "BF16":
        with np.errstate(over="ignore"):  # a weight that is too large is reported by name
            narrowed: Array = values.astype(_DTYPES[dtype])
        return narrowed
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
