"""
The worker that merges an adapter where numpy alone cannot. Started by `understudy.trainers.fuse`.

Quantized files are dequantized tensor by tensor; a whole model is loaded and saved by mlx-lm.
"""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import load, save

from understudy.errors import AssetError
from understudy.interfaces import Progress
from understudy.trainers import merge, mlx_checkpoint
from understudy.worker import serve

NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}


def run(job: merge.Job, progress: Progress) -> merge.Merged:
    """Write base plus adapter in full precision into folder `out`. Raises AssetError."""
    try:
        return (_whole if job.whole else _streamed)(job.base, job.adapter, job.out, progress)
    except ValueError as error:  # mlx-lm's, for weights that the model does not have
        raise AssetError(f"{job.adapter} does not fit {job.base}: {error}") from None


def _whole(base: Path, adapter: Path, out: Path, progress: Progress) -> merge.Merged:
    progress(0, 3, "loading")
    model, tokenizer, config = load(str(base), adapter_path=str(adapter), return_config=True)
    adapted = [(name, module) for name, module in model.named_modules() if hasattr(module, "fuse")]
    fused = [(name, module.fuse()) for name, module in adapted]
    changed = sum(int(np.array(mx.sum(new.weight != old.linear.weight))) for (_, old), (_, new) in zip(adapted, fused))
    model.update_modules(tree_unflatten(fused))
    progress(1, 3, "writing")
    parameters = sum(weight.size for _, weight in tree_flatten(model.parameters()))
    save(str(out), str(base), model, tokenizer, config)
    progress(3, 3)
    return merge.Merged(changed, parameters)


def _streamed(base: Path, adapter: Path, out: Path, progress: Progress) -> merge.Merged:
    """Dequantize each weight, add its gain, write it: never more than one in full precision."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization") or config["quantization_config"]
    gains, shards = merge.deltas(adapter), merge.shards(base)
    arrays: dict[str, mx.array] = {}
    for shard in shards:
        arrays |= mlx_checkpoint.read(shard)[0]
    if absent := sorted(gains.keys() - arrays.keys()):
        raise AssetError(f"the adapter changes {absent[0]}, which {base} does not hold: it was trained on another base")
    weight_map: dict[str, str] = {}
    changed = total = done = 0
    for shard in shards:
        names = [name for name in mlx_checkpoint.read(shard)[0] if not name.endswith(merge.PACKED)]
        header: dict[str, dict[str, object]] = {}
        at = 0
        for name in names:
            dtype, shape = _form(name, arrays, settings)
            end = at + int(np.prod(shape)) * (4 if dtype == "F32" else 2)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
            at, total = end, total + int(np.prod(shape))
        text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
        with (out / shard.name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                values, dtype = _plain(name, arrays, settings), str(header[name]["dtype"])
                if name in gains:
                    values, differ = _with(values, dtype, gains.pop(name), name)
                    changed, done = changed + differ, done + 1
                    progress(done, done + len(gains), name)
                values.tofile(file)
        weight_map |= dict.fromkeys(names, shard.name)
    _companions(base, out, config, weight_map)
    return merge.Merged(changed, total)


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
    chosen = own if isinstance(own, dict) else settings
    return {"group_size": chosen["group_size"], "bits": chosen["bits"], "mode": chosen.get("mode", "affine")}


def _plain(name: str, arrays: dict[str, mx.array], settings: dict[str, Any]) -> merge.Array:
    """A weight in full precision, bfloat16 as its bits."""
    value, stem = arrays.pop(name), name.removesuffix(".weight")
    if name.endswith(".weight") and f"{stem}.scales" in arrays:
        scales, biases = arrays.pop(f"{stem}.scales"), arrays.pop(f"{stem}.biases", None)
        value = mx.dequantize(value, scales, biases, **_quantization(name, settings))
        value = value if value.dtype in NAMES else value.astype(mx.bfloat16)
    return np.array(value.view(mx.uint16) if value.dtype == mx.bfloat16 else value)


def _with(values: merge.Array, dtype: str, gain: merge.Delta, name: str) -> tuple[merge.Array, int]:
    if values.shape != gain.shape:
        raise AssetError(
            f"the adapter's {name} is {gain.shape}, and the base's {values.shape}: it was trained on another base"
        )
    new = merge.added(values, dtype, gain)
    return new, int(np.count_nonzero(new != values))


def _companions(base: Path, out: Path, config: dict[str, Any], weight_map: dict[str, str]) -> None:
    """Write the config without its quantization, and the index of the shards."""
    plain = {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}
    (out / "config.json").write_text(json.dumps(plain, indent=2), encoding="utf-8")
    if (base / merge.INDEX).exists():
        index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
        (out / merge.INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


if __name__ == "__main__":
    serve(merge.Job, run)
