"""The keys that say how large a model is and how it encodes positions: those that all families share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from understudy.errors import ExportError
from understudy.gguf.families import Family, ModelConfig, Rope

if TYPE_CHECKING:
    from gguf import GGUFWriter


SIZES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""Key > the setting of config.json, of those that every file has."""
OTHERS = {
    "context_length": "max_position_embeddings",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
}
SCALING = {
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.yarn_ext_factor": "extrapolation_factor",
    "rope.scaling.yarn_attn_factor": "attention_factor",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}


def shape_settings(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The way back: what `add_shape` wrote, as settings of config.json. Raises ExportError when a size is missing."""
    if missing := [key for key in SIZES if key not in keys]:
        raise ExportError(f"its metadata lack {', '.join(missing)}")
    if lists := [key for key in SIZES | OTHERS if isinstance(keys.get(key), list)]:
        raise ExportError(f"{', '.join(lists)} differ from layer to layer, which none of the families here has")
    settings = {setting: keys[key] for key, setting in (SIZES | OTHERS).items() if key in keys}
    if keys.get("rope.scaling.type") in ("linear", "yarn"):
        settings["rope_scaling"] = {setting: keys[key] for key, setting in SCALING.items() if key in keys}
    return settings


def add_shape(writer: "GGUFWriter", config: ModelConfig, family: Family) -> None:
    """Add the keys all families have to `writer`."""
    writer.add_block_count(config.num_hidden_layers)
    if config.max_position_embeddings:
        writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.key_heads)
    if config.rope.rope_type in ("linear", "yarn"):  # llama3's scaling is in a tensor
        _add_rope_scaling(writer, config.rope)
    writer.add_rope_freq_base(config.rope.rope_theta or 0.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if family.writes_head_width or (config.head_dim and family.writes_head_width is not None):
        writer.add_key_length(config.head_width)
        writer.add_value_length(config.head_width)


def _add_rope_scaling(writer: "GGUFWriter", rope: Rope) -> None:
    from gguf import RopeScalingType

    if rope.factor is None or (rope.rope_type == "yarn" and rope.original_max_position_embeddings is None):
        raise ExportError(f"config.json: rope type {rope.rope_type!r} lacks factor or original_max_position_embeddings")
    writer.add_rope_scaling_type(RopeScalingType(rope.rope_type))
    writer.add_rope_scaling_factor(rope.factor)
    if rope.rope_type == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope.original_max_position_embeddings or 0)
        for value, add in (
            (rope.extrapolation_factor, writer.add_rope_scaling_yarn_ext_factor),
            (rope.attention_factor, writer.add_rope_scaling_yarn_attn_factor),
            (rope.beta_fast, writer.add_rope_scaling_yarn_beta_fast),
            (rope.beta_slow, writer.add_rope_scaling_yarn_beta_slow),
        ):
            if value is not None:
                add(value)
