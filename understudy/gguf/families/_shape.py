"""The keys that say how large a model is and how it encodes positions: those that all families share."""

from typing import TYPE_CHECKING

from understudy.errors import ExportError
from understudy.gguf.families import Family, ModelConfig, Rope

if TYPE_CHECKING:
    from gguf import GGUFWriter


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
