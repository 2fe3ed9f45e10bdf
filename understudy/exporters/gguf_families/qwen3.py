"""Qwen 3, dense: Llama's shape with a norm on the queries and keys of each head, and no biases."""

from understudy.exporters.gguf_families import LAYER, Family

FAMILY = Family(
    architecture="qwen3",
    classes=("Qwen3ForCausalLM",),
    layer=LAYER | {"self_attn.q_norm.weight": ("head",), "self_attn.k_norm.weight": ("head",)},
)
