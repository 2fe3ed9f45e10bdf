"""
mlx on a processor: what its wheel computes one number at a time there is left to numpy, which takes sixteen at once.

The exponential is the costly one: 12 ns a number in mlx 0.32.4 on x86, 0.5 ns in numpy. In a step of a real small model
it was half of the time: in the loss over the vocabulary, in the gates between the layers, in attention. All of it can
go when mlx vectorizes `exp` there. On a GPU nothing here is used.
"""

import sys
from types import ModuleType
from typing import Any

import mlx.core as mx
from mlx import nn

from understudy.cpu import attention, elementwise


def speed_up(model: nn.Module, eager: bool = True) -> list[str]:
    """Give the model's family these functions in place of mlx's, for good in this process; the names of those it has.

    For models in float32. Answers are made as before: what is written token by token is too small to gain. What numpy
    computes is computed at once, and while gradients are traced mlx holds on to all of it until the step is over:
    several times the memory. Without `eager` there is only mlx's own arithmetic, less of it.
    """
    softmax: Any = elementwise.causal_softmax if eager else None
    functions = {"scaled_dot_product_attention": attention.in_blocks_or(softmax)}
    functions |= {"swiglu": elementwise.swiglu_or} if eager else {}
    replaced = set()
    for module in {type(part).__module__ for part in model.modules()}:
        for name, make in functions.items():
            if _replace(sys.modules[module], name, make):
                replaced.add(name)
    return sorted(replaced)


def _replace(code: ModuleType, name: str, make: Any) -> bool:
    if not code.__name__.startswith("mlx_lm.") or (stock := getattr(code, name, None)) is None:
        return False
    if not hasattr(stock, "stock"):
        ours = make(stock)
        ours.stock = stock  # for the next call to find
        setattr(code, name, ours)
    return True


def used() -> bool:
    """Whether mlx computes on the processor here."""
    return bool(mx.default_device() == mx.Device(mx.cpu))
