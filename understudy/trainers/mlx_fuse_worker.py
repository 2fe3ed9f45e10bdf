"""
The worker that merges an adapter where numpy alone cannot. Started by `understudy.trainers.fuse`.

Job: {base, adapter, out, whole}. Without `whole`, quantized files are dequantized tensor by tensor; with it,
mlx-lm loads and saves the model, because mlx has other names for the weights than the files.
Result: {parameters, changed}, or {problem} in words.
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
from understudy.trainers import merge
from understudy.worker import serve

NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}


def run(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Write base plus adapter in full precision into folder `out`."""
    base, adapter, out = (Path(job[name]) for name in ("base", "adapter", "out"))
    try:
        changed, total = (
            _whole(base, adapter, out, progress) if job["whole"] else _streamed(base, adapter, out, progress)
        )
    except (AssetError, ValueError) as error:  # ValueError: mlx-lm's, for weights the model has not
        return {"problem": str(error) if isinstance(error, AssetError) else f"{adapter} does not fit {base}: {error}"}
    return {"parameters": total, "changed": changed}


def _whole(base: Path, adapter: Path, out: Path, progress: Progress) -> tuple[int, int]:
    progress(0, 3, "loading")
    model, tokenizer, config = load(str(base), adapter_path=str(adapter), return_config=True)
    adapted = [(name, module) for name, module in model.named_modules() if hasattr(module, "fuse")]
    merged = [(name, module.fuse()) for name, module in adapted]
    changed = sum(int(mx.sum(new.weight != old.linear.weight).item()) for (_, old), (_, new) in zip(adapted, merged))
    model.update_modules(tree_unflatten(merged))
    progress(1, 3, "writing")
    parameters = sum(weight.size for _, weight in tree_flatten(model.parameters()))
    save(str(out), str(base), model, tokenizer, config)
    progress(3, 3)
    return changed, parameters


def _streamed(base: Path, adapter: Path, out: Path, progress: Progress) -> tuple[int, int]:
    """Dequantize each weight, add its gain, write it: never more than one in full precision."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization") or config["quantization_config"]
    gains, shards = merge.deltas(adapter), merge.shards(base)
    held: dict[str, mx.array] = {}
    for shard in shards:
        held |= mx.load(str(shard))  # not read before it is used
    if absent := sorted(gains.keys() - held.keys()):
        raise AssetError(f"the adapter changes {absent[0]}, which {base} has not: it was trained on another base")
    where, changed, total, done = {}, 0, 0, 0
    for shard in shards:
        names = [name for name in mx.load(str(shard)) if not name.endswith(merge.PACKED)]
        header, at = {}, 0
        for name in names:
            dtype, shape = _form(name, held, settings)
            end = at + int(np.prod(shape)) * (4 if dtype == "F32" else 2)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
            at, total = end, total + int(np.prod(shape))
        text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
        with (out / shard.name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                values, dtype = _plain(name, held, settings), header[name]["dtype"]
                if name in gains:
                    values, differ = _with(values, str(dtype), gains.pop(name), name)
                    changed, done = changed + differ, done + 1
                    progress(done, done + len(gains), name)
                values.tofile(file)
        where |= dict.fromkeys(names, shard.name)
    _companions(base, out, config, where)
    return changed, total


def _form(name: str, held: dict[str, mx.array], settings: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape of a weight in full precision."""
    scales = held.get(f"{name.removesuffix('.weight')}.scales")
    if scales is None or not name.endswith(".weight"):
        return NAMES[held[name].dtype], held[name].shape
    of = _of(name, settings)
    dtype = NAMES.get(scales.dtype, "BF16")  # the scales of some modes are 8-bit numbers
    return dtype, (*held[name].shape[:-1], held[name].shape[-1] * 32 // of["bits"])


def _of(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    own = settings.get(name.removesuffix(".weight"))
    of = own if isinstance(own, dict) else settings
    return {"group_size": of["group_size"], "bits": of["bits"], "mode": of.get("mode", "affine")}


def _plain(name: str, held: dict[str, mx.array], settings: dict[str, Any]) -> np.ndarray:
    """A weight in full precision, bfloat16 as its bits."""
    value, stem = held.pop(name), name.removesuffix(".weight")
    if name.endswith(".weight") and f"{stem}.scales" in held:
        scales, biases = held.pop(f"{stem}.scales"), held.pop(f"{stem}.biases", None)
        value = mx.dequantize(value, scales, biases, **_of(name, settings))
        value = value if value.dtype in NAMES else value.astype(mx.bfloat16)
    return np.array(value.view(mx.uint16) if value.dtype == mx.bfloat16 else value)


def _with(values: np.ndarray, dtype: str, gain: merge.Delta, name: str) -> tuple[np.ndarray, int]:
    if values.shape != gain.shape:
        raise AssetError(
            f"the adapter's {name} is {gain.shape}, and the base's {values.shape}: it was trained on another base"
        )
    new = merge.added(values, dtype, gain)
    return new, int(np.count_nonzero(new != values))


def _companions(base: Path, out: Path, config: dict[str, Any], where: dict[str, str]) -> None:
    """Write the config without its quantization, and the index of the shards."""
    plain = {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}
    (out / "config.json").write_text(json.dumps(plain, indent=2), encoding="utf-8")
    if (base / merge.INDEX).exists():
        index = {"metadata": {}, "weight_map": dict(sorted(where.items()))}
        (out / merge.INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


if __name__ == "__main__":
    serve(run)
