"""Granite 3, dense: Llama's shape with four multipliers."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from understudy.gguf.families import IN_PAIRS, LAYER, OTHER_BIASES, QKV_BIASES, Family, ModelConfig, Read
from understudy.gguf.families.llama import add_keys as add_llama_keys

if TYPE_CHECKING:
    from gguf import GGUFWriter


MULTIPLIERS = {
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}


class GraniteConfig(ModelConfig):
    """llama.cpp reads no head width for Granite: it is the hidden size over the heads."""

    attention_multiplier: float = Field(gt=0)
    embedding_multiplier: float = Field(gt=0)
    residual_multiplier: float = Field(gt=0)
    logits_scaling: float = Field(gt=0)

    @model_validator(mode="after")
    def _plain_heads(self) -> "GraniteConfig":
        if self.head_dim not in (None, self.hidden_size // self.num_attention_heads):
            raise ValueError(f"head_dim {self.head_dim}, and llama.cpp takes hidden_size / num_attention_heads here")
        return self


def add_keys(writer: "GGUFWriter", config: ModelConfig) -> None:
    """Llama's keys and the multipliers, under the names llama.cpp gives them."""
    assert isinstance(config, GraniteConfig)
    add_llama_keys(writer, config)
    writer.add_attention_scale(config.attention_multiplier)
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)


def _settings(read: Read) -> dict[str, Any]:
    return {setting: read.keys[key] for key, setting in MULTIPLIERS.items() if key in read.keys}


FAMILY = Family(
    architecture="granite",
    classes=("GraniteForCausalLM",),
    layer=LAYER,
    optional=QKV_BIASES | OTHER_BIASES,
    rotated_in_pairs=IN_PAIRS,
    writes_head_width=None,
    config=GraniteConfig,
    add_keys=add_keys,
    settings=_settings,
)
