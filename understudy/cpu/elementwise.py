"""Functions of single numbers, and softmax, by numpy, with their gradients. In float32."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]
SMALL = 16_384
"""Numbers below which calling numpy costs more than it saves."""


def swiglu_or(stock: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """`stock`, but for large arrays in float32."""

    def gated(gate: mx.array, x: mx.array) -> mx.array:
        if gate.size < SMALL or gate.dtype != mx.float32 or x.dtype != mx.float32 or gate.shape != x.shape:
            return stock(gate, x)
        both: Any = swiglu(gate, x)
        result: mx.array = both[0]
        return result

    return gated


@mx.custom_function  # type: ignore[untyped-decorator]
def swiglu(gate: mx.array, x: mx.array) -> tuple[mx.array, mx.array]:
    """gate * sigmoid(gate) * x, and the sigmoid."""
    sigmoid = _sigmoid(np.asarray(gate))
    result = sigmoid * np.asarray(gate)
    result *= np.asarray(x)
    return mx.array(result), mx.array(sigmoid)


@swiglu.vjp  # type: ignore[untyped-decorator]
def _(primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]) -> tuple[mx.array, mx.array]:
    (gate, x), gradient, sigmoid = primals, cotangents[0], outputs[1]
    silu = gate * sigmoid
    return gradient * x * (sigmoid + silu * (1 - sigmoid)), gradient * silu


@mx.custom_function  # type: ignore[untyped-decorator]
def causal_softmax(scores: mx.array) -> mx.array:
    """Softmax over the last axis of [..., queries, keys]; the last query sees all keys, each before it one less."""
    result = np.array(scores)
    queries = result.shape[-2]
    own = result[..., -queries:]  # a view: of the last keys, each query sees those up to itself
    own[..., ~np.tri(queries, dtype=bool)] = -np.inf
    result -= result.max(axis=-1, keepdims=True)
    np.exp(result, out=result)
    result /= result.sum(axis=-1, keepdims=True)
    return mx.array(result)


@causal_softmax.vjp  # type: ignore[untyped-decorator]
def _(primals: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    gradient = output * cotangent
    return gradient - output * gradient.sum(axis=-1, keepdims=True)


def _sigmoid(values: Array) -> Array:
    result: Array = np.negative(values)
    with np.errstate(over="ignore"):  # 1 / (1 + inf) is 0, as it should be
        np.exp(result, out=result)
    result += 1
    np.reciprocal(result, out=result)
    return result
