"""LoRA put on a model, and what is really on it: read from its layers, not from the options."""

from collections.abc import Iterable
from typing import Any, TypeVar

import mlx.core as mx
from mlx import nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from understudy.errors import ConfigError, WorkerFailed
from understudy.trainers.lora_job import LoraOptions
from understudy.trainers.merge import STACKED
from understudy.trainers.mlx_checkpoint import trainable

Value = TypeVar("Value", int, float)


def add_lora(model: nn.Module, options: LoraOptions, seed: int) -> None:
    """Freeze `model` and put LoRA on its linear layers, of a mixture of experts on those of attention.

    Raises ConfigError.
    """
    modules = [one for layer in model.layers for one in layer.named_modules()]
    experts = {name for name, module in modules if isinstance(module, SwitchLinear | QuantizedSwitchLinear)}
    plain = {name for name, module in modules if isinstance(module, nn.Linear | nn.QuantizedLinear)}
    known = sorted(plain | experts)
    unknown = sorted(set(options.target_modules or ()) - set(known))
    if unknown:
        raise ConfigError(
            [f"trainer.target_modules: this base has no {n!r}; choose from {', '.join(known)}" for n in unknown]
        )
    if lost := [name for name in options.target_modules or () if name in experts and STACKED not in name]:
        raise ConfigError(
            [
                f"trainer.target_modules: {name} are experts that cannot be merged into this base's files"
                for name in lost
            ]
        )
    blocks = options.num_layers or len(model.layers)
    if blocks > len(model.layers):
        raise ConfigError([f"trainer.num_layers: this base has {len(model.layers)} blocks, not {blocks}; take fewer"])
    shape: dict[str, object] = {"rank": options.rank, "scale": options.scale, "dropout": options.dropout}
    if options.target_modules:
        shape["keys"] = options.target_modules
    elif experts:
        # A router that moves sends tokens to other experts; a rank for each expert is most of the model again.
        parts = {name.rpartition(".")[0].partition(".")[0] for name in experts}
        shape["keys"] = sorted(name for name in plain if name.partition(".")[0] not in parts)
    mx.random.seed(seed)
    model.freeze()
    linear_to_lora_layers(model, blocks, shape)


def effective(model: nn.Module) -> tuple[dict[str, Any], int]:
    """The adapter's config as mlx-lm reads it, and the number of weights that are trained. Raises WorkerFailed.

    The number is checked against rank x (inputs + outputs) of every adapted layer of the base, and of every expert.
    """
    adapted = [
        (block, name, module)
        for block, layer in enumerate(model.layers)
        for name, module in layer.named_modules()
        if hasattr(module, "lora_a")
    ]
    rank = _only(module.lora_a.shape[1] for *_, module in adapted)
    shape = {
        "rank": rank,
        "scale": _only(float(module.scale) for *_, module in adapted),
        "dropout": _only(round(1 - module.dropout._p_1, 6) for *_, module in adapted),
        "keys": sorted({name for _, name, _ in adapted}),
    }
    expected = sum(
        experts * rank * (outputs + inputs)
        for experts, outputs, inputs in (_sizes(module.linear) for *_, module in adapted)
    )
    actual = sum(weight.size for weight in trainable(model).values())
    if actual != expected:
        raise WorkerFailed(f"{actual} weights would be trained, not the {expected} of the adapter: another mlx-lm?")
    blocks = len({block for block, *_ in adapted})
    return {"fine_tune_type": "lora", "num_layers": blocks, "lora_parameters": shape}, actual


def _sizes(linear: nn.Module) -> tuple[int, int, int]:
    """Experts (1 without any), outputs and inputs of a linear layer; a quantized one packs its inputs into 32 bits."""
    *experts, outputs, inputs = linear.weight.shape
    packed = isinstance(linear, nn.QuantizedLinear | QuantizedSwitchLinear)
    return experts[0] if experts else 1, outputs, inputs * 32 // linear.bits if packed else inputs


def _only(values: Iterable[Value]) -> Value:
    """The one value. Raises WorkerFailed when layers differ."""
    different = set(values)
    if len(different) != 1:
        raise WorkerFailed(f"the adapted layers differ: {sorted(different)}")
    return different.pop()
