"""
Attention over whole rows on a processor: only those scores are taken that the causal mask lets through.

A block of queries looks at the keys up to its own end, which is little more than half of the work.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

BLOCK = 64
Softmax = Callable[[mx.array], mx.array]


def in_blocks_or(softmax: Softmax | None) -> Callable[[Callable[..., mx.array]], Callable[..., mx.array]]:
    """A maker of attention functions: the stock one, but for what whole rows need, a causal mask and nothing cached.

    `softmax` is used in place of mlx's, whose exponentials are slow enough to be worth it in shorter rows.
    """
    shortest = BLOCK if softmax else 2 * BLOCK

    def make(stock: Callable[..., mx.array]) -> Callable[..., mx.array]:
        def attention(
            queries: mx.array,
            keys: mx.array,
            values: mx.array,
            cache: Any,
            scale: float,
            mask: mx.array | str | None,
            sinks: mx.array | None = None,
        ) -> mx.array:
            plain = cache is None and sinks is None and isinstance(mask, str)
            own = softmax if queries.dtype == mx.float32 else None
            if not plain or queries.shape[-2] <= shortest:
                return stock(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks)
            return causal(queries, keys, values, scale, own or mlx_softmax)

        return attention

    return make


def mlx_softmax(scores: mx.array) -> mx.array:
    """Softmax over the last axis of [..., queries, keys]; the last query sees all keys, each before it one less."""
    queries, keys = scores.shape[-2:]
    visible = mx.arange(keys - queries, keys)[:, None] >= mx.arange(keys)
    return mx.softmax(mx.where(visible, scores, -mx.inf), axis=-1, precise=True)


def causal(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, softmax: Softmax = mlx_softmax
) -> mx.array:
    """Attention of each place to itself and those before it.

    Queries are [rows, heads, places, width], keys and values [rows, heads of keys, places, width].
    """
    rows, heads, places, width = queries.shape
    key_heads = keys.shape[1]
    grouped = (queries * scale).reshape(rows, key_heads, heads // key_heads, places, width)
    across, values = keys[:, :, None].swapaxes(-1, -2), values[:, :, None]
    blocks = []
    for start in range(0, places, BLOCK):
        end = min(places, start + BLOCK)
        blocks.append(softmax(grouped[..., start:end, :] @ across[..., :end]) @ values[..., :end, :])
    return mx.concatenate(blocks, axis=-2).reshape(rows, heads, places, values.shape[-1])
