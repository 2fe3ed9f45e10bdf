"""Granite 4 without Mamba layers and without experts (granite-4.0-micro): Granite 3 with a fused gate."""

from typing import Any

from pydantic import model_validator

from understudy.gguf.families import IN_PAIRS, LAYER, Family
from understudy.gguf.families.granite import GraniteConfig, add_keys


class Granite4Config(GraniteConfig):
    """Its dense layers are as wide as `shared_intermediate_size`; `intermediate_size` is that of experts."""

    layer_types: list[str]
    num_local_experts: int | None = None
    position_embedding_type: str = "rope"

    @model_validator(mode="before")
    @classmethod
    def _width_of_the_dense_layer(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("shared_intermediate_size"):
            return value | {"intermediate_size": value["shared_intermediate_size"]}
        return value

    @model_validator(mode="after")
    def _dense_attention(self) -> "Granite4Config":
        if set(self.layer_types) != {"attention"} or self.num_local_experts:
            raise ValueError("has Mamba layers or experts; only the dense Granite 4 (micro) can be written")
        if self.position_embedding_type != "rope":
            raise ValueError(f"position_embedding_type {self.position_embedding_type!r}; only 'rope' can be written")
        return self


FAMILY = Family(
    architecture="granite",
    classes=("GraniteMoeHybridForCausalLM",),
    layer={name: shape for name, shape in LAYER.items() if not name.startswith("mlp.")}
    | {
        "shared_mlp.input_linear.weight": ("gate_and_up", "hidden"),
        "shared_mlp.output_linear.weight": ("hidden", "feed_forward"),
    },
    rotated_in_pairs=IN_PAIRS,
    writes_head_width=None,
    mlx_layer=LAYER,
    config=Granite4Config,
    add_keys=add_keys,
    split_into={
        "shared_mlp.input_linear.": ("mlp.gate_proj.", "mlp.up_proj."),
        "shared_mlp.output_linear.": ("mlp.down_proj.",),
    },
)
