"""Phi 3 and Phi-4-mini: queries, keys and values in one tensor, gate and up in another; only a share is rotated."""

import math
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from understudy.gguf.families import Family, ModelConfig, Read

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter

SCALED = ("longrope", "su")


class Phi3Config(ModelConfig):
    """`original_max_position_embeddings` may stand inside rope_parameters or beside it."""

    sliding_window: int | None = None

    @model_validator(mode="after")
    def _factors_fit(self) -> "Phi3Config":
        if self.rope.rope_type in SCALED:
            lengths = [len(factors or []) for factors in (self.rope.long_factor, self.rope.short_factor)]
            if lengths != [self.rotated // 2] * 2:
                raise ValueError(f"long_factor and short_factor have {lengths} values, and need {self.rotated // 2}")
        return self

    @property
    def rotated(self) -> int:
        """Values of a head that are rotated."""
        return int(self.rotated_share * self.hidden_size) // self.num_attention_heads

    @property
    def first_context(self) -> int:
        """The context length before RoPE scaling."""
        inside = self.rope.original_max_position_embeddings
        return inside or self.original_max_position_embeddings or self.max_position_embeddings or 4096


def _add_keys(writer: "GGUFWriter", config: ModelConfig) -> None:
    assert isinstance(config, Phi3Config)
    writer.add_rope_dimension_count(config.rotated)
    writer.add_rope_scaling_orig_ctx_len(config.first_context)
    writer.add_sliding_window(config.sliding_window or 0)  # 0 tells llama.cpp that this is no early Phi 3
    if config.rope.rope_type in SCALED:
        growth = (config.max_position_embeddings or config.first_context) / config.first_context
        factor = math.sqrt(1 + math.log(growth) / math.log(config.first_context)) if growth > 1 else 1.0
        writer.add_rope_scaling_attn_factors(factor)


def _rope_factors(config: ModelConfig) -> "dict[str, np.ndarray]":
    import numpy as np

    if config.rope.rope_type not in SCALED:
        return {}
    return {
        "rope_factors_long.weight": np.array(config.rope.long_factor, np.float32),
        "rope_factors_short.weight": np.array(config.rope.short_factor, np.float32),
    }


def _settings(read: Read) -> dict[str, Any]:
    width = read.settings["hidden_size"] // read.settings["num_attention_heads"]
    settings: dict[str, Any] = {
        "partial_rotary_factor": read.keys.get("rope.dimension_count", width) / width,
        "sliding_window": read.keys.get("attention.sliding_window") or None,
        "original_max_position_embeddings": read.keys.get("rope.scaling.original_context_length"),
    }
    factors = {name: read.made.get(f"rope_factors_{name}.weight") for name in ("long", "short")}
    if any(values is not None for values in factors.values()):
        lists = {f"{name}_factor": [] if values is None else values.tolist() for name, values in factors.items()}
        settings["rope_scaling"] = {"rope_type": "longrope", **lists}
    return settings


FAMILY = Family(
    architecture="phi3",
    classes=("Phi3ForCausalLM",),
    layer={
        "input_layernorm.weight": ("hidden",),
        "self_attn.qkv_proj.weight": ("queries_keys_values", "hidden"),
        "self_attn.o_proj.weight": ("hidden", "queries"),
        "post_attention_layernorm.weight": ("hidden",),
        "mlp.gate_up_proj.weight": ("gate_and_up", "hidden"),
        "mlp.down_proj.weight": ("hidden", "feed_forward"),
    },
    rope_types=("default", *SCALED),
    writes_head_width=None,
    rotates_partly=True,
    config=Phi3Config,
    add_keys=_add_keys,
    make_tensors=_rope_factors,
    settings=_settings,
)
