"""OLMo 3: OLMo 2 with a window in three of four layers."""

from dataclasses import replace
from typing import TYPE_CHECKING

from understudy.gguf.families import ModelConfig, olmo2

if TYPE_CHECKING:
    from gguf import GGUFWriter

FULL_LAYERS = 4


class Olmo3Config(olmo2.Olmo2Config):
    """Every fourth layer looks past the window, where `layer_types` does not say otherwise."""

    sliding_window: int = 4096
    layer_types: list[str] | None = None

    @property
    def windowed(self) -> list[bool]:
        """For each layer, whether it looks no further than the window."""
        if self.layer_types:
            return [kind == "sliding_attention" for kind in self.layer_types]
        return [number % FULL_LAYERS != 0 for number in range(1, self.num_hidden_layers + 1)]


def _add_keys(writer: "GGUFWriter", config: ModelConfig) -> None:
    assert isinstance(config, Olmo3Config)
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern(config.windowed)


FAMILY = replace(olmo2.FAMILY, classes=("Olmo3ForCausalLM",), config=Olmo3Config, add_keys=_add_keys)
