"""The base in torch with PEFT's LoRA on it, what is really on it, and its weights in mlx's form."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from understudy.errors import ConfigError, WorkerFailed
from understudy.text import tokenizer as tokenizers
from understudy.trainers import machine, merge, tensor_files
from understudy.trainers.torch_job import TorchOptions

BLOCKS = "model.layers."
NAME = "default"
"""Of the one adapter, as PEFT calls it."""
Value = TypeVar("Value", int, float)


class Numbers(NamedTuple):
    """Where and in what torch computes."""

    device: str
    dtype: str

    @property
    def type(self) -> Any:
        """torch's own name of the type."""
        return getattr(torch, self.dtype)

    @property
    def bytes(self) -> int:
        """Of one number."""
        return 4 if self.dtype == "float32" else 2

    def precision(self) -> Any:
        """A context in which layers compute in that type, and sums in float32."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bfloat16")


def numbers(options: TorchOptions) -> Numbers:
    """Where and in what this machine computes. Raises ConfigError when a device that was set is not here."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(name for name in here if here[name]) if options.device == "auto" else options.device
    if not here[device]:
        there = ", ".join(name for name in here if here[name])
        raise ConfigError([f"trainer.device: torch finds no {device} here, only {there}; set it to auto"])
    fast = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "mps": lambda: torch.backends.mps.is_macos_or_newer(14, 0),
        "cpu": machine.multiplies_bfloat16,
    }[device]
    dtype = options.dtype if options.dtype != "auto" else "bfloat16" if fast() else "float32"
    return Numbers(device, dtype)


def load_tokenizer(base: Path) -> tuple[Any, set[int]]:
    """The tokenizer of a base and its end tokens, as mlx-lm finds them. Raises ConfigError without a chat template."""
    tokenizer = tokenizers.load(base)
    if not tokenizer.chat_template:
        raise ConfigError(
            [f"base: {base.name} has no chat template, so there is no way to ask it; take an instruct model"]
        )
    stated: Any = None
    for name in ("config.json", "generation_config.json"):  # what is generated with wins
        file = base / name
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        stated = known.get("eos_token_id") or stated
    ends = {stated} if isinstance(stated, int) else set(stated or ())
    return tokenizer, ends | ({tokenizer.eos_token_id} - {None})


def load(base: Path, numbers: Numbers, bits: int | None) -> nn.Module:
    """The base with frozen weights, quantized to `bits` by bitsandbytes where that is set. Raises ConfigError."""
    options: dict[str, Any] = {"dtype": numbers.type, "attn_implementation": "sdpa", "local_files_only": True}
    if bits:
        options |= {"quantization_config": _quantization(bits, numbers), "device_map": {"": 0}}
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base, **options)
    model.requires_grad_(False)
    return model if bits else model.to(numbers.device)


def _quantization(bits: int, numbers: Numbers) -> Any:
    from transformers import BitsAndBytesConfig

    if numbers.device != "cuda" or machine.missing(["bitsandbytes"]):
        raise ConfigError(
            [
                f"trainer.base_bits: {bits} bits need bitsandbytes and an NVIDIA card, and here is "
                f"{'no bitsandbytes' if numbers.device == 'cuda' else f'only {numbers.device}'}; leave base_bits out"
            ]
        )
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=numbers.type)


def add_lora(model: nn.Module, options: TorchOptions, base: Path, seed: int) -> PeftModel:
    """The model with LoRA on the linear layers of its blocks. Raises ConfigError for what it does not have."""
    linear = [
        name.removeprefix(BLOCKS).partition(".")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(BLOCKS)
    ]
    known = sorted({module for _, _, module in linear})
    unknown = sorted(set(options.target_modules or ()) - set(known))
    if unknown:
        choices = ", ".join(known) or "none: it has no plain linear layers in its blocks"
        raise ConfigError([f"trainer.target_modules: this base has no {n!r}; choose from {choices}" for n in unknown])
    blocks = 1 + max((int(block) for block, _, _ in linear), default=-1)
    if (options.num_layers or 0) > blocks:
        raise ConfigError([f"trainer.num_layers: this base has {blocks} blocks, not {options.num_layers}; take fewer"])
    first = blocks - (options.num_layers or blocks)
    wanted = set(options.target_modules or known)
    names = [f"{BLOCKS}{n}.{module}" for n, _, module in linear if int(n) >= first and module in wanted]
    _refuse_other_names(base, names)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        use_rslora=options.use_rslora,
        target_modules=names,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config, autocast_adapter_dtype=True)


def _refuse_other_names(base: Path, names: list[str]) -> None:
    """Raise ConfigError where the base's files, and with them mlx and llama.cpp, know the layers by other names."""
    stored = {name for shard in merge.shards(base) for name in merge.tensors(shard)}
    stored -= {f"{name}.weight" for name in names if any(part in name for part in merge.PARTED)}
    lost = [name for name in names if f"{name}.weight" not in stored]
    if lost or not names:
        what = f"{lost[0]} has another name in its files" if lost else "it has no plain linear layers in its blocks"
        raise ConfigError([f"base: peft_lora cannot train this one ({what}); take --set trainer.use=mlx_lora"])


def layers(model: PeftModel) -> dict[str, Any]:
    """Name as in the base's files > the layer with its adapter."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and NAME in module.lora_A
    }


def halves(model: PeftModel) -> dict[str, nn.Parameter]:
    """mlx's name > the weight that is trained, in torch's orientation: the transpose of mlx's."""
    return {
        f"{name}.lora_{half}": part[NAME].weight
        for name, layer in sorted(layers(model).items())
        for half, part in (("a", layer.lora_A), ("b", layer.lora_B))
    }


def save(model: PeftModel, file: Path) -> None:
    """Write the adapter in mlx's form. Raises OSError."""
    arrays = {name: weight.detach().float().cpu().numpy().T for name, weight in halves(model).items()}
    tensor_files.write(file, {name: tensor_files.plain(values) for name, values in arrays.items()})


def effective(model: PeftModel) -> tuple[dict[str, Any], int]:
    """The adapter's config as mlx-lm reads it, and the number of weights that are trained. Raises WorkerFailed.

    Read from the layers, not from the options; the number is checked against rank x (inputs + outputs) of each.
    """
    adapted = layers(model)
    places = [name.removeprefix(BLOCKS).partition(".") for name in adapted]
    rank = _only(layer.r[NAME] for layer in adapted.values())
    shape = {
        "rank": rank,
        "scale": _only(float(layer.scaling[NAME]) for layer in adapted.values()),
        "dropout": _only(float(getattr(layer.lora_dropout[NAME], "p", 0.0)) for layer in adapted.values()),
        "keys": sorted({module for _, _, module in places}),
    }
    expected = sum(rank * (layer.in_features + layer.out_features) for layer in adapted.values())
    actual = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if actual != expected:
        raise WorkerFailed(f"{actual} weights would be trained, not the {expected} of the adapter: another peft?")
    blocks = len({block for block, _, _ in places})
    return {"fine_tune_type": "lora", "num_layers": blocks, "lora_parameters": shape}, actual


def _only(values: Iterable[Value]) -> Value:
    """The one value. Raises WorkerFailed when layers differ."""
    different = set(values)
    if len(different) != 1:
        raise WorkerFailed(f"the adapted layers differ: {sorted(different)}")
    return different.pop()
