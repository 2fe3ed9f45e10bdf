"""
The worker that merges an adapter with mlx-lm. Started by `understudy.trainers.mlx_lora`.

Only for a base whose weights are quantized, or are stored under other names than its modules have;
every other base is merged without mlx by `understudy.trainers.merge`.
Job: {base, adapter, out}. Result: {parameters, changed}.
"""

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import dequantize_model, load, save

from understudy.interfaces import Report
from understudy.worker import serve


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write base plus adapter in full precision into folder `out`."""
    report(0, 3, "loading")
    model, tokenizer, config = load(job["base"], adapter_path=job["adapter"], return_config=True)
    adapted = [(name, module) for name, module in model.named_modules() if hasattr(module, "fuse")]
    merged = [(name, module.fuse(dequantize=True)) for name, module in adapted]
    changed = sum(int(mx.sum(new.weight != _weight(old.linear)).item()) for (_, old), (_, new) in zip(adapted, merged))
    model.update_modules(tree_unflatten(merged))
    model = dequantize_model(model)
    for key in ("quantization", "quantization_config"):
        config.pop(key, None)
    report(1, 3, "writing")
    parameters = sum(weight.size for _, weight in tree_flatten(model.parameters()))
    save(job["out"], job["base"], model, tokenizer, config)
    report(3, 3)
    return {"parameters": parameters, "changed": changed}


def _weight(linear: nn.Module) -> mx.array:
    """The weight of a linear layer in full precision."""
    if not isinstance(linear, nn.QuantizedLinear):
        return linear.weight
    return mx.dequantize(
        linear.weight, linear.scales, linear.biases, group_size=linear.group_size, bits=linear.bits, mode=linear.mode
    )


if __name__ == "__main__":
    serve(run)
