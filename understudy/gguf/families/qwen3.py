"""Qwen 3, dense: Llama's shape with a norm on the queries and keys of each head, and no biases."""

from understudy.gguf.families import HEAD_NORMS, LAYER, Family

FAMILY = Family(architecture="qwen3", classes=("Qwen3ForCausalLM",), layer=LAYER | HEAD_NORMS)
