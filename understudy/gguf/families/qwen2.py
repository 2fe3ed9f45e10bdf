"""Qwen 2 and 2.5: Llama's shape with biases on the queries, keys and values."""

from understudy.gguf.families import LAYER, QKV_BIASES, Family

FAMILY = Family(architecture="qwen2", classes=("Qwen2ForCausalLM",), layer=LAYER | QKV_BIASES, writes_head_width=False)
