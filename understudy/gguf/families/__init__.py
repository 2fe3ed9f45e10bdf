"""
The model families this project can write as GGUF: one small file each, named after `model_type` in config.json.

To add one, write `<model_type>.py` with a `FAMILY`. Its facts are checked against llama.cpp's own
converter: the same keys, the same tensors, the same bits.
"""

import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from understudy.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter

Shape = tuple[str, ...]
"""Names out of `ModelConfig.sizes`: rows first, as in the safetensors file."""

BODY: dict[str, Shape] = {
    "model.embed_tokens.weight": ("vocabulary", "hidden"),
    "model.norm.weight": ("hidden",),
}
HEAD = "lm_head.weight"
LAYER: dict[str, Shape] = {
    "input_layernorm.weight": ("hidden",),
    "self_attn.q_proj.weight": ("queries", "hidden"),
    "self_attn.k_proj.weight": ("keys", "hidden"),
    "self_attn.v_proj.weight": ("keys", "hidden"),
    "self_attn.o_proj.weight": ("hidden", "queries"),
    "post_attention_layernorm.weight": ("hidden",),
    "mlp.gate_proj.weight": ("feed_forward", "hidden"),
    "mlp.up_proj.weight": ("feed_forward", "hidden"),
    "mlp.down_proj.weight": ("hidden", "feed_forward"),
}
HEAD_NORMS: dict[str, Shape] = {"self_attn.q_norm.weight": ("head",), "self_attn.k_norm.weight": ("head",)}
QKV_BIASES: dict[str, Shape] = {
    "self_attn.q_proj.bias": ("queries",),
    "self_attn.k_proj.bias": ("keys",),
    "self_attn.v_proj.bias": ("keys",),
}
OTHER_BIASES: dict[str, Shape] = {
    "self_attn.o_proj.bias": ("hidden",),
    "mlp.gate_proj.bias": ("feed_forward",),
    "mlp.up_proj.bias": ("feed_forward",),
    "mlp.down_proj.bias": ("hidden",),
}
INSTALL_CONVERTER = "python -m understudy.exporters.converter"
IN_PAIRS = ("self_attn.q_proj.", "self_attn.k_proj.")


class Rope(BaseModel):
    """How positions are encoded. An unknown key is an error: to skip it would write another model."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rope_type: str = "default"
    rope_theta: float | None = None
    factor: float | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int | None = None
    extrapolation_factor: float | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    partial_rotary_factor: float | None = Field(default=None, gt=0, le=1)
    long_factor: list[float] | None = None
    short_factor: list[float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _older_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and "type" in value:
            value = {"rope_type": value["type"], **value}
            del value["type"]
        return value


class ModelConfig(BaseModel):
    """What config.json says about the shape of the model."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    model_type: str
    architectures: list[str] = []
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    vocab_size: int
    rms_norm_eps: float
    max_position_embeddings: int | None = None
    rope_theta: float | None = None
    rope_scaling: Rope | None = None
    rope_parameters: Rope | None = Field(default=None, description="transformers 5's name, with rope_theta inside")
    partial_rotary_factor: float = Field(default=1.0, gt=0, le=1, description="the share of a head that is rotated")
    original_max_position_embeddings: int | None = None
    tie_word_embeddings: bool | None = None
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | list[int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _rope_of_full_attention(cls, value: Any) -> Any:
        """transformers 5 has one encoding for each kind of layer, where there are several kinds."""
        ropes = value.get("rope_parameters") if isinstance(value, dict) else None
        if isinstance(ropes, dict) and "full_attention" in ropes:
            return value | {"rope_parameters": ropes["full_attention"]}
        return value

    @property
    def rope(self) -> Rope:
        """The position encoding, whichever of the two names it was written under."""
        rope = self.rope_parameters or self.rope_scaling or Rope()
        theta = rope.rope_theta or self.rope_theta or 10000.0  # transformers' and llama.cpp's default
        return rope.model_copy(update={"rope_theta": theta})

    @property
    def rotated_share(self) -> float:
        """The share of each head that is rotated by its position."""
        return self.rope.partial_rotary_factor or self.partial_rotary_factor

    @property
    def head_width(self) -> int:
        """Values per attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def key_heads(self) -> int:
        """Heads of the keys and of the values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def sizes(self) -> dict[str, int]:
        """Every size a tensor of this model can have, by the name the shapes use."""
        return {
            "vocabulary": self.vocab_size,
            "hidden": self.hidden_size,
            "feed_forward": self.intermediate_size,
            "queries": self.num_attention_heads * self.head_width,
            "head": self.head_width,
            "keys": self.key_heads * self.head_width,
            "queries_keys_values": (self.num_attention_heads + 2 * self.key_heads) * self.head_width,
            "gate_and_up": 2 * self.intermediate_size,
        }


class Read(NamedTuple):
    """What a GGUF file says, for the way back to a config.json."""

    keys: Mapping[str, Any]
    """Without the architecture before them."""
    made: Mapping[str, "np.ndarray"]
    """The tensors that a converter computes, such as 'rope_freqs.weight', by name."""
    settings: Mapping[str, Any]
    """config.json so far: what all families share."""


def _nothing(read: Read) -> dict[str, Any]:
    """Most families have no settings of their own."""
    return {}


def _no_keys(writer: "GGUFWriter", config: ModelConfig) -> None:
    """Most families need no keys of their own."""


def _no_tensors(config: ModelConfig) -> "dict[str, np.ndarray]":
    """Most families compute no tensors of their own."""
    return {}


@dataclass(frozen=True)
class Family:
    """What llama.cpp must know about one kind of model."""

    architecture: str
    """llama.cpp's name of it, which it also prefixes the keys with."""
    classes: tuple[str, ...]
    """The `architectures` of config.json that are this family."""
    layer: Mapping[str, Shape]
    """Tensors each layer must have, without their 'model.layers.N.'."""
    optional: Mapping[str, Shape] = field(default_factory=dict)
    """Tensors a layer may have besides."""
    rotated_in_pairs: tuple[str, ...] = ()
    """Beginnings of tensors whose rows move: llama.cpp rotates neighbours, transformers halves of a head."""
    rope_types: tuple[str, ...] = ("default", "linear", "yarn")
    """The position encodings llama.cpp computes for this family."""
    writes_head_width: bool | None = True
    """False where llama.cpp's converter leaves it out unless config.json has a head_dim; None where it always does."""
    config: type[ModelConfig] = ModelConfig
    """What config.json must say; a family extends it by settings of its own, and refuses what llama.cpp fixes."""
    norm_offset: float = 0.0
    """1 where the model multiplies by 1 + weight and llama.cpp by the weight."""
    split_into: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Tensor > the llama-named tensors its rows are, in equal parts; one name only renames it."""
    mlx_layer: Mapping[str, Shape] | None = None
    """`layer` under the names of a folder that mlx saved, where it splits tensors."""
    rotates_partly: bool = False
    """True where llama.cpp can rotate less than a whole head."""
    add_keys: Callable[["GGUFWriter", ModelConfig], None] = _no_keys
    make_tensors: Callable[[ModelConfig], "dict[str, np.ndarray]"] = _no_tensors
    settings: Callable[[Read], dict[str, Any]] = _nothing
    """The way back: what `add_keys` and `make_tensors` wrote, as settings of config.json."""


def known() -> list[str]:
    """The `model_type` of every family there is."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def by_architecture() -> dict[str, str]:
    """llama.cpp's name of an architecture > the `model_type` a file of it becomes, the plainest where there are two."""
    return {of_type(name).architecture: name for name in reversed(known())}


def of_type(name: str) -> Family:
    """The family of a `model_type` in `known()`."""
    family: Family = import_module(f"{__name__}.{name}").FAMILY
    return family


def kind(model: Path) -> str | None:
    """`model_type` in config.json of the folder `model`. Raises ExportError when it cannot be read."""
    raw = _raw(model / "config.json")
    return str(raw["model_type"]) if "model_type" in raw else None


def read(model: Path) -> tuple[ModelConfig, Family]:
    """config.json of the folder `model`, and its family. Raises ExportError."""
    file = model / "config.json"
    name = kind(model)
    if name not in known():
        raise ExportError(
            f"{file}: Understudy itself cannot write model_type {name!r} as GGUF, only {', '.join(known())}. Train one "
            "of these; or install llama.cpp's own converter once (it needs torch, up to 5 GB), which is then used: "
            f"{INSTALL_CONVERTER}; or name a folder of llama.cpp: --set export.llama_cpp_dir=FOLDER"
        )
    return validated(str(name), _raw(file), str(file))


def validated(name: str, raw: Mapping[str, Any], file: str) -> tuple[ModelConfig, Family]:
    """The settings of a config.json as those of the family `name`; `file` is what errors name. Raises ExportError."""
    family = of_type(name)
    try:
        config = family.config.model_validate(raw)
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or name}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
        raise ExportError(f"{file}: {where}") from None
    if config.architectures and config.architectures[0] not in family.classes:
        raise ExportError(f"{file}: architecture {config.architectures[0]!r} is not {' or '.join(family.classes)}")
    if config.rope.rope_type not in family.rope_types:
        raise ExportError(
            f"{file}: rope type {config.rope.rope_type!r} cannot be written for {name}; "
            f"supported: {', '.join(family.rope_types)}"
        )
    if config.rotated_share != 1 and not family.rotates_partly:
        raise ExportError(f"{file}: partial_rotary_factor {config.rotated_share:g}, and llama.cpp's {name} rotates all")
    return config, family


def _raw(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{file}: cannot be read ({error}); a model folder needs its config.json") from None
    if not isinstance(raw, dict):
        raise ExportError(f"{file}: holds no settings but {type(raw).__name__}; copy it from the base")
    return raw
