"""ERNIE 4.5, dense: Llama's shape, whose own weights are rotated in neighbours as llama.cpp does it."""

from pydantic import model_validator

from understudy.gguf.families import LAYER, Family, ModelConfig


class ErnieConfig(ModelConfig):
    """llama.cpp knows no biases here."""

    use_bias: bool = False
    rms_norm_eps: float = 1e-5

    @model_validator(mode="after")
    def _no_biases(self) -> "ErnieConfig":
        if self.use_bias:
            raise ValueError("use_bias is set, and llama.cpp's ERNIE 4.5 has none")
        return self


FAMILY = Family(
    architecture="ernie4_5",
    classes=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    layer=LAYER,
    writes_head_width=False,
    config=ErnieConfig,
)
