"""Llama 2 and 3 by shape, and all models like them; Llama 3.1's RoPE scaling becomes `rope_freqs.weight`."""

import math
from typing import TYPE_CHECKING, Any

from understudy.errors import ExportError
from understudy.gguf.families import IN_PAIRS, LAYER, OTHER_BIASES, QKV_BIASES, Family, ModelConfig, Read

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter


FIRST_CONTEXTS = (8192, *(2**power for power in range(5, 20)))
"""Llama 3's own is 8,192 tokens."""


def add_keys(writer: "GGUFWriter", config: ModelConfig) -> None:
    """The two keys llama.cpp's converter adds for Llama and its copies."""
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_width)


def _rope_frequencies(config: ModelConfig) -> "dict[str, np.ndarray]":
    """What each rotation frequency is divided by: 1 for fast ones, `factor` for slow ones, a blend between.

    The rule is Llama 3.1's (transformers, `_compute_llama3_parameters`). The steps are rounded to
    float32 where llama.cpp's converter rounds them, its divisions being products with reciprocals, so
    that the bits agree (seen for heads of 32, 64, 80, 128 and 256 values; one last bit differs at 96).
    """
    import numpy as np

    rope, one = config.rope, np.float32(1)
    if rope.rope_type != "llama3":
        return {}
    old = rope.original_max_position_embeddings or 8192
    factor = np.float32(rope.factor or 8.0)
    exponents = np.arange(0, config.head_width, 2, dtype=np.float32) / np.float32(config.head_width)
    powers = np.float64(rope.rope_theta or 10000.0) ** exponents.astype(np.float64)
    wavelengths = one / (one / powers.astype(np.float32)) * np.float32(2 * math.pi)
    turns = one / wavelengths * np.float32(old)
    span = np.float32(rope.high_freq_factor - rope.low_freq_factor)
    smooth = (turns - np.float32(rope.low_freq_factor)) / span
    blend = one / ((one - smooth) / factor + smooth)
    divisors = np.where(wavelengths > old / rope.low_freq_factor, factor, blend)
    return {"rope_freqs.weight": np.where(wavelengths < old / rope.high_freq_factor, one, divisors)}


def _settings(read: Read) -> dict[str, Any]:
    """Llama 3.1's RoPE scaling, of which a file holds the divisors only: the first context that gives just these."""
    import numpy as np

    divisors = read.made.get("rope_freqs.weight")
    if divisors is None:
        return {}
    for original in FIRST_CONTEXTS:
        rope = {
            "rope_type": "llama3",
            "factor": float(divisors.max()),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        }
        config = ModelConfig.model_validate({**read.settings, "rope_scaling": rope})
        made = _rope_frequencies(config)["rope_freqs.weight"]
        if made.shape == divisors.shape and np.allclose(made, divisors, rtol=1e-6, atol=0):
            return {"rope_scaling": rope}
    raise ExportError("rope_freqs.weight is not of Llama 3's kind of RoPE scaling")


FAMILY = Family(
    architecture="llama",
    classes=("LlamaForCausalLM",),
    layer=LAYER,
    optional=QKV_BIASES | OTHER_BIASES,
    rotated_in_pairs=IN_PAIRS,
    rope_types=("default", "linear", "yarn", "llama3"),
    add_keys=add_keys,
    make_tensors=_rope_frequencies,
    settings=_settings,
)
