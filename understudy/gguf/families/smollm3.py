"""SmolLM 3: Llama's shape, where every fourth layer knows no positions (llama.cpp counts them itself)."""

from pydantic import model_validator

from understudy.gguf.families import IN_PAIRS, LAYER, OTHER_BIASES, QKV_BIASES, Family, ModelConfig
from understudy.gguf.families.llama import add_keys

WITHOUT_POSITIONS = 4


class SmolLM3Config(ModelConfig):
    """A list with 1 for each layer that rotates by position, or how often one does not."""

    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: int = WITHOUT_POSITIONS

    @model_validator(mode="after")
    def _as_llama_cpp_counts(self) -> "SmolLM3Config":
        step = self.no_rope_layer_interval
        layers = range(1, self.num_hidden_layers + 1)
        rotating = [number % step != 0 for number in layers] if self.no_rope_layers is None else self.no_rope_layers
        if list(map(bool, rotating)) != [number % WITHOUT_POSITIONS != 0 for number in layers]:
            raise ValueError(f"no_rope_layers {rotating}, but llama.cpp skips positions in every fourth layer only")
        return self


FAMILY = Family(
    architecture="smollm3",
    classes=("SmolLM3ForCausalLM",),
    layer=LAYER,
    optional=QKV_BIASES | OTHER_BIASES,
    rotated_in_pairs=IN_PAIRS,
    config=SmolLM3Config,
    add_keys=add_keys,
)
