"""
An adapter from mlx's form into PEFT's and back: the same numbers under other names, without mlx and without torch.

mlx keeps `a` as [inputs, rank] and `b` as [rank, outputs] with one rank and one scale for all layers; PEFT keeps both
transposed, an alpha instead of the scale, and ranks of single layers. Tensors are moved, never computed with, but for
a layer whose scale is the others' times a power of two: that is exact, and so both ways give the same bytes again.
What mlx's form cannot say is refused.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from understudy.errors import AssetError
from understudy.trainers import merge, tensor_files
from understudy.trainers.merge import Array

FOLDER = "peft"
CONFIG = "adapter_config.json"
MLX_WEIGHTS, PEFT_WEIGHTS = "adapters.safetensors", "adapter_model.safetensors"
NOTE = "understudy.json"
"""Beside PEFT's files: what mlx's form says and PEFT's has no word for."""
PREFIX = "base_model.model."
DIGITS = 9
LAYER = re.compile(r"^(.*\.layers\.)(\d+)\.(.+)$")
HALF = re.compile(rf"^{re.escape(PREFIX)}(.+)\.lora_([AB])\.weight$")
PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "default"),
}
"""Options of PEFT that have more than one value with which the adapter is plain LoRA."""
CHANGING = (
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication",
    "fan_in_fan_out", "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config",
    "velora_config", "monteclora_config", "megatron_config",
)  # fmt: skip
"""Options of PEFT that add weights or another arithmetic than base + scale * B A."""
log = logging.getLogger("understudy.train")


class Scaled(NamedTuple):
    """How PEFT scales one layer."""

    rank: int
    scale: float


def leave(out: Path, base: Path) -> None:
    """Put the adapter of a run in `out` as PEFT reads it into `out`/peft; a line in the log where that cannot be."""
    names = {name for shard in merge.shards(base) for name in merge.tensors(shard)}
    try:
        stems = {stem for stem, _ in _halves(tensor_files.read(out / MLX_WEIGHTS))}
        if unknown := sorted(stem for stem in stems if f"{stem}.weight" not in names):
            raise AssetError(f"{unknown[0]} has another name in the files of this base")
        to_peft(out, out / FOLDER, _name_of(base))
    except AssetError as error:
        log.info("train: no %s folder beside the adapter: %s", FOLDER, error)


def to_peft(adapter: Path, out: Path, base_name: str | None = None) -> None:
    """Write the adapter in mlx's form in folder `adapter` into folder `out` as PEFT reads it. Raises AssetError."""
    settings = _config(adapter)
    if (kind := settings.get("fine_tune_type", "lora")) != "lora":
        raise AssetError(f"{adapter}: fine_tune_type is {kind!r}, and only plain LoRA has the same form in PEFT")
    halves = _halves(tensor_files.read(adapter / MLX_WEIGHTS))
    common = Scaled(int(settings["lora_parameters"]["rank"]), float(settings["lora_parameters"]["scale"]))
    stems = sorted({stem for stem, _ in halves})
    config = settings.get("peft") or _peft_config(settings, stems, base_name)
    tensors = {}
    for (stem, half), tensor in halves.items():
        if tensor.values.ndim != 2:
            raise AssetError(f"{stem} holds one adapter for each expert, which PEFT's form has no tensor for")
        own = _scaled(config, stem)
        turned = tensor.values.T if half == "b" else tensor.values[:, : own.rank].T
        if half == "b":
            turned = _times(turned[:, : own.rank], tensor.dtype, common.scale / own.scale, stem)
        tensors[f"{PREFIX}{stem}.lora_{half.upper()}.weight"] = tensor._replace(values=np.ascontiguousarray(turned))
    out.mkdir(parents=True, exist_ok=True)
    tensor_files.write(out / PEFT_WEIGHTS, tensors, {"format": "pt"})
    _write_json(out / CONFIG, config)
    _write_json(out / NOTE, {name: value for name, value in settings.items() if name != "peft"})


def from_peft(folder: Path, out: Path) -> None:
    """Write the adapter that PEFT saved in `folder` into folder `out` in mlx's form. Raises AssetError."""
    config = _config(folder)
    _refuse_other_kinds(folder, config)
    stored = tensor_files.read(_weights_of(folder))
    if unknown := sorted(name for name in stored if not HALF.match(name)):
        raise AssetError(f"{folder}: {unknown[0]} is no weight of plain LoRA, so it cannot be merged; train plain LoRA")
    halves = {(match[1], match[2].lower()): stored[name] for name in stored if (match := HALF.match(name))}
    scaled = {stem: _scaled(config, stem) for stem, _ in halves}
    common = _common(scaled)
    tensors = {}
    for (stem, half), tensor in halves.items():
        own, rank = scaled[stem], tensor.values.shape[0 if half == "a" else 1]
        if tensor.values.ndim != 2 or rank != own.rank or (stem, "b" if half == "a" else "a") not in halves:
            raise AssetError(f"{folder}: {stem} has rank {rank} in the weights and {own.rank} in {CONFIG}, or one half")
        values = tensor.values
        if half == "b":
            values = _times(values, tensor.dtype, own.scale / common.scale, stem)
        padded = _padded(values.T, 1 if half == "a" else 0, common.rank)
        tensors[f"{stem}.lora_{half}"] = tensor._replace(values=padded)
    out.mkdir(parents=True, exist_ok=True)
    tensor_files.write(out / MLX_WEIGHTS, tensors)
    note = folder / NOTE
    known = json.loads(note.read_text(encoding="utf-8")) if note.exists() else None
    _write_json(out / CONFIG, known or _mlx_config(config, common, [stem for stem, _ in halves]))


def _halves(tensors: Mapping[str, tensor_files.Tensor]) -> dict[tuple[str, str], tensor_files.Tensor]:
    """(layer, 'a' or 'b') > its tensor, of an adapter in mlx's form. Raises AssetError for anything else in it."""
    halves = {}
    for name, tensor in tensors.items():
        stem, _, half = name.rpartition(".lora_")
        if not stem or half not in ("a", "b"):
            raise AssetError(f"{name} is no half of a LoRA layer")
        halves[stem, half] = tensor
    return halves


def _peft_config(settings: Mapping[str, Any], stems: list[str], base_name: str | None) -> dict[str, Any]:
    """What PEFT needs to know of an adapter that was trained in mlx's form."""
    places = [match.groups() for stem in stems if (match := LAYER.match(stem))]
    if len(places) != len(stems):
        raise AssetError("the adapter changes more than the blocks of a model, which is no plain LoRA on their layers")
    shape = settings["lora_parameters"]
    alpha = round(float(shape["scale"]) * int(shape["rank"]), DIGITS)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": int(shape["rank"]),
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": float(shape.get("dropout", 0.0)),
        "target_modules": sorted({module for _, _, module in places}),
        "layers_to_transform": sorted({int(block) for _, block, _ in places}),
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }


def _mlx_config(config: Mapping[str, Any], common: Scaled, stems: list[str]) -> dict[str, Any]:
    """What mlx-lm needs to know of an adapter that PEFT saved; -1 puts zeros on blocks that it leaves alone."""
    modules = sorted({match[3] for stem in stems if (match := LAYER.match(stem))})
    if not modules:
        raise AssetError("the adapter changes no layer inside a block; train LoRA on the linear layers of the blocks")
    dropout = float(config.get("lora_dropout") or 0.0)
    shape = {"rank": common.rank, "scale": common.scale, "dropout": dropout, "keys": modules}
    return {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": shape, "peft": dict(config)}


def _refuse_other_kinds(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise AssetError for what is not plain LoRA."""
    if config.get("peft_type") != "LORA":
        raise AssetError(f"{folder}: peft_type is {config.get('peft_type')!r}, and only 'LORA' can be merged")
    wrong = [name for name in CHANGING if config.get(name)]
    wrong += [name for name, plain in PLAIN.items() if name in config and config[name] not in plain]
    if wrong:
        raise AssetError(
            f"{folder}: {wrong[0]} is {config[wrong[0]]!r}: the merge, and llama.cpp's file of an adapter, know plain "
            "LoRA only; have PEFT convert it to LoRA, or train without that option"
        )


def _scaled(config: Mapping[str, Any], stem: str) -> Scaled:
    """Rank and scale of one layer, as PEFT takes them: a pattern's where one matches the end of its name."""
    rank = int(_of_pattern(config.get("rank_pattern"), stem, config["r"]))
    alpha = float(_of_pattern(config.get("alpha_pattern"), stem, config["lora_alpha"]))
    return Scaled(rank, alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _of_pattern(patterns: Mapping[str, Any] | None, stem: str, default: Any) -> Any:
    key = next((key for key in patterns or () if re.match(rf"(.*\.)?({key})$", stem)), None)
    return default if key is None else (patterns or {})[key]


def _common(scaled: Mapping[str, Scaled]) -> Scaled:
    """The one rank and scale that mlx's form has: the largest rank, and the scale that most layers have."""
    counted = Counter(one.scale for one in scaled.values())
    scale = max(counted, key=lambda scale: (counted[scale], scale))
    return Scaled(max(one.rank for one in scaled.values()), scale)


def _times(values: Array, dtype: str, factor: float, stem: str) -> Array:
    """`values` times a power of two, which loses nothing. Raises AssetError for any other factor."""
    if factor == 1:
        return values
    wide = merge.widen(values, dtype)
    result = merge.narrow(wide * np.float32(factor), dtype)
    exact = np.log2(factor) % 1 == 0 and np.array_equal(merge.widen(result, dtype) / np.float32(factor), wide)
    if not exact:
        raise AssetError(
            f"{stem} has {factor:.4g} times the scale of most layers; mlx's form has one scale, and only a power of "
            "two can be moved into the weights without rounding: give all layers the same alpha / rank"
        )
    return result


def _padded(values: Array, axis: int, rank: int) -> Array:
    """`values` with zeros up to `rank` along an axis: a smaller rank is a larger one with zeros."""
    missing = [(0, 0), (0, 0)]
    missing[axis] = (0, rank - values.shape[axis])
    return np.ascontiguousarray(np.pad(values, missing))


def _weights_of(folder: Path) -> Path:
    if (folder / PEFT_WEIGHTS).is_file():
        return folder / PEFT_WEIGHTS
    if (folder / "adapter_model.bin").is_file():
        raise AssetError(f"{folder}: adapter_model.bin may run any program when it is read; save it as safetensors")
    raise AssetError(f"{folder} holds no {PEFT_WEIGHTS}; give the folder that PEFT's save_pretrained wrote")


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{file} cannot be read as an adapter's settings ({error})") from None
    if not isinstance(config, dict):
        raise AssetError(f"{file} is no adapter's settings")
    return config


def _name_of(base: Path) -> str:
    """The name of a base as PEFT records it: of its repository, where that is known."""
    card = base / "card.json"
    known = json.loads(card.read_text(encoding="utf-8")) if card.exists() else {}
    return str(known.get("notes", {}).get("original") or known.get("name") or base.name)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
