"""The worker for what a merge needs of mlx: dequantizing, or a whole model. Started by `understudy.trainers.fuse`."""

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import load, save

from understudy.errors import AssetError
from understudy.interfaces import Progress
from understudy.trainers import mlx_checkpoint
from understudy.trainers.fuse import FuseJob
from understudy.trainers.merge import INDEX, PACKED, Array, Merged, shards
from understudy.worker import serve

NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}


def run(job: FuseJob, progress: Progress) -> Merged:
    """Write base plus adapter, or the base dequantized, in full precision into `out`. Raises AssetError."""
    if job.adapter is None:
        return _dequantize(job.base, job.out, progress)
    try:
        return _merge(job.base, job.adapter, job.out, progress)
    except ValueError as error:  # mlx-lm's, for weights that the model does not have
        raise AssetError(f"{job.adapter} does not fit {job.base}: {error}") from None


def _merge(base: Path, adapter: Path, out: Path, progress: Progress) -> Merged:
    """Load, merge and save with mlx-lm."""
    progress(0, 3, "loading")
    model, tokenizer, config = load(str(base), adapter_path=str(adapter), return_config=True)
    layers = [(name, module) for name, module in model.named_modules() if hasattr(module, "fuse")]
    fused = [(name, module.fuse()) for name, module in layers]
    changed = sum(int(np.array(mx.sum(new.weight != old.linear.weight))) for (_, old), (_, new) in zip(layers, fused))
    model.update_modules(tree_unflatten(fused))
    progress(1, 3, "writing")
    parameters = sum(weight.size for _, weight in tree_flatten(model.parameters()))
    save(str(out), str(base), model, tokenizer, config)
    progress(3, 3)
    return Merged(changed, parameters)


def _dequantize(base: Path, out: Path, progress: Progress) -> Merged:
    """Write each weight dequantized: never more than one in full precision in memory."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization") or config["quantization_config"]
    arrays: dict[str, mx.array] = {}
    for shard in shards(base):
        arrays |= mlx_checkpoint.read(shard)[0]
    weight_map: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards(base)):
        progress(number, len(shards(base)), f"dequantizing {shard.name}")
        names = [name for name in mlx_checkpoint.read(shard)[0] if not name.endswith(PACKED)]
        header, at = {}, 0
        for name in names:
            dtype, shape = _form(name, arrays, settings)
            size = math.prod(shape)
            end = at + size * (4 if dtype == "F32" else 2)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
            at, total = end, total + size
        text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
        with (out / shard.name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                _plain(name, arrays, settings).tofile(file)
        weight_map |= dict.fromkeys(names, shard.name)
    _companions(base, out, config, weight_map)
    return Merged(0, total)


def _form(name: str, arrays: dict[str, mx.array], settings: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape of a weight in full precision."""
    scales = arrays.get(f"{name.removesuffix('.weight')}.scales")
    if scales is None or not name.endswith(".weight"):
        return NAMES[arrays[name].dtype], arrays[name].shape
    bits = _quantization(name, settings)["bits"]
    dtype = NAMES.get(scales.dtype, "BF16")  # the scales of some modes are 8-bit numbers
    return dtype, (*arrays[name].shape[:-1], arrays[name].shape[-1] * 32 // bits)


def _quantization(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    own = settings.get(name.removesuffix(".weight"))
    quantization = own if isinstance(own, dict) else settings
    return {
        "group_size": quantization["group_size"],
        "bits": quantization["bits"],
        "mode": quantization.get("mode", "affine"),
    }


def _plain(name: str, arrays: dict[str, mx.array], settings: dict[str, Any]) -> Array:
    """A weight in full precision, bfloat16 as its bits."""
    value, stem = arrays.pop(name), name.removesuffix(".weight")
    if name.endswith(".weight") and f"{stem}.scales" in arrays:
        scales, biases = arrays.pop(f"{stem}.scales"), arrays.pop(f"{stem}.biases", None)
        value = mx.dequantize(value, scales, biases, **_quantization(name, settings))
        value = value if value.dtype in NAMES else value.astype(mx.bfloat16)
    return np.array(value.view(mx.uint16) if value.dtype == mx.bfloat16 else value)


def _companions(base: Path, out: Path, config: dict[str, Any], weight_map: dict[str, str]) -> None:
    """Write the config without its quantization, and the index of the shards."""
    plain = {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}
    (out / "config.json").write_text(json.dumps(plain, indent=2), encoding="utf-8")
    if (base / INDEX).exists():
        index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
        (out / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


if __name__ == "__main__":
    serve(FuseJob, run)
