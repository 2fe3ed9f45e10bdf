"""OLMo 2: Llama's shape with its norms after attention and feed-forward, and one over all queries and all keys."""

from typing import Any

from pydantic import model_validator

from understudy.gguf.families import LAYER, Family, ModelConfig, Read


class Olmo2Config(ModelConfig):
    """llama.cpp takes no head width for OLMo, and no head that is the embeddings again."""

    @model_validator(mode="after")
    def _as_llama_cpp_computes(self) -> "Olmo2Config":
        if self.head_width * self.num_attention_heads != self.hidden_size:
            raise ValueError(f"head_dim {self.head_dim}, and llama.cpp takes hidden_size / num_attention_heads here")
        if self.tie_word_embeddings:
            raise ValueError("tie_word_embeddings is set, and llama.cpp's OLMo has a head of its own")
        return self


def _settings(read: Read) -> dict[str, Any]:
    """A file with a window is one of OLMo 3, which llama.cpp gives the same name."""
    if not (window := read.keys.get("attention.sliding_window")):
        return {}
    settings = {"model_type": "olmo3", "architectures": ["Olmo3ForCausalLM"], "sliding_window": window}
    if pattern := read.keys.get("attention.sliding_window_pattern"):
        settings["layer_types"] = ["sliding_attention" if windowed else "full_attention" for windowed in pattern]
    return settings


NORMS = {
    "self_attn.q_norm.weight": ("queries",),
    "self_attn.k_norm.weight": ("keys",),
    "post_feedforward_layernorm.weight": ("hidden",),
}
FAMILY = Family(
    architecture="olmo2",
    classes=("Olmo2ForCausalLM",),
    layer={name: shape for name, shape in LAYER.items() if name != "input_layernorm.weight"} | NORMS,
    writes_head_width=False,
    config=Olmo2Config,
    settings=_settings,
)
