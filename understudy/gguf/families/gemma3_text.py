"""Gemma 3, text only: four norms a layer, weights of norms short of 1, and a window in five of six layers."""

from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from understudy.gguf.families import HEAD_NORMS, LAYER, Family, ModelConfig, Read

if TYPE_CHECKING:
    from gguf import GGUFWriter

WINDOW_LAYERS = 6
LARGEST_LAYERS = 62


class Gemma3Config(ModelConfig):
    """What transformers leaves out of config.json when it is the default, and what llama.cpp has built in."""

    num_attention_heads: int = 8
    num_key_value_heads: int | None = 4
    head_dim: int | None = 256
    vocab_size: int = 262_208
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int | None = 131_072
    rope_theta: float | None = 1_000_000.0
    rope_local_base_freq: float = 10_000.0
    sliding_window: int = 512
    sliding_window_pattern: int = WINDOW_LAYERS
    layer_types: list[str] | None = None
    query_pre_attn_scalar: float = 256
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_rope_per_kind_of_layer(cls, value: Any) -> Any:
        """transformers 5 keeps both encodings in rope_parameters."""
        ropes = value.get("rope_parameters") if isinstance(value, dict) else None
        if not isinstance(ropes, dict) or "full_attention" not in ropes:
            return value
        local = ropes.get("sliding_attention") or {}
        if local.get("rope_type", "default") != "default":
            raise ValueError(f"rope type {local['rope_type']!r} in sliding layers, and llama.cpp scales none there")
        theta = local.get("rope_theta", 10_000.0)
        return value | {"rope_parameters": ropes["full_attention"], "rope_local_base_freq": theta}

    @model_validator(mode="after")
    def _as_llama_cpp_computes(self) -> "Gemma3Config":
        layers = range(1, self.num_hidden_layers + 1)
        full = [n % self.sliding_window_pattern == 0 for n in layers]
        if self.layer_types is not None:
            full = [kind == "full_attention" for kind in self.layer_types]
        if full != [n % WINDOW_LAYERS == 0 for n in layers]:
            raise ValueError("llama.cpp looks past the window in every sixth layer only, and these layers differ")
        largest = self.num_hidden_layers == LARGEST_LAYERS
        width = self.hidden_size // self.num_attention_heads if largest else self.head_width
        if self.query_pre_attn_scalar != width:
            raise ValueError(f"query_pre_attn_scalar {self.query_pre_attn_scalar:g}, and llama.cpp takes {width} here")
        if self.attn_logit_softcapping is not None:
            raise ValueError("attn_logit_softcapping is set, and llama.cpp's Gemma 3 has none")
        return self


def _add_keys(writer: "GGUFWriter", config: ModelConfig) -> None:
    assert isinstance(config, Gemma3Config)
    writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base_swa(config.rope_local_base_freq)
    if config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _settings(read: Read) -> dict[str, Any]:
    shape = read.settings
    largest = shape["num_hidden_layers"] == LARGEST_LAYERS
    width = shape["hidden_size"] // shape["num_attention_heads"] if largest else shape.get("head_dim", 256)
    return {
        "sliding_window": read.keys.get("attention.sliding_window", 512),
        "sliding_window_pattern": WINDOW_LAYERS,
        "rope_local_base_freq": read.keys.get("rope.freq_base_swa", 10_000.0),
        "query_pre_attn_scalar": width,
        "final_logit_softcapping": read.keys.get("final_logit_softcapping"),
    }


FAMILY = Family(
    architecture="gemma3",
    classes=("Gemma3ForCausalLM",),
    layer=LAYER
    | HEAD_NORMS
    | {"pre_feedforward_layernorm.weight": ("hidden",), "post_feedforward_layernorm.weight": ("hidden",)},
    rope_types=("default", "linear"),
    config=Gemma3Config,
    norm_offset=1.0,
    add_keys=_add_keys,
    settings=_settings,
)
