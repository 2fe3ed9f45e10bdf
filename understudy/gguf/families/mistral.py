"""Mistral: Llama's shape by another name. Its early sliding window is left out, as llama.cpp leaves it out."""

from understudy.gguf.families import IN_PAIRS, LAYER, Family
from understudy.gguf.families.llama import add_keys

FAMILY = Family(
    architecture="llama",
    classes=("MistralForCausalLM",),
    layer=LAYER,
    rotated_in_pairs=IN_PAIRS,
    add_keys=add_keys,
)
