"""
The loss over the vocabulary in mlx's graph: of target tokens only, in parts whose logits are made again backwards.

No array of all tokens by the vocabulary is ever made: at 128,000 words that would be the largest of a step. Which
places have a target is counted outside of the graph and padded to whole parts, so that a compiled step sees few shapes.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx import nn

from understudy.cpu.head import PROBE, TOLERANCE, parts_of
from understudy.trainers.mlx_group import World
from understudy.trainers.mlx_plugins import Batches

CHUNK_BYTES = 64 << 20
"""Memory that the logits of one part may take in float32."""
FEWEST, MOST = 32, 1024
"""Places of a part."""
HALF_TOLERANCE = 0.02
Batch = tuple[mx.array, ...]
Loss = Callable[..., tuple[mx.array, mx.array]]
Iterate = Callable[..., Iterator[Batch]]
"""mlx-lm's `iterate_batches`."""
Feed = Callable[[Batches], Iterate]


class Head(NamedTuple):
    """A model as what it computes before its head, and its head."""

    body: Callable[[mx.array], mx.array]
    """Tokens [rows, places] > states [rows, places, width]."""
    logits: Callable[[mx.array], mx.array]
    """States [places, width] > logits [places, vocabulary]."""
    chunk: int
    """Places of a part."""


def head_of(model: nn.Module) -> Head | None:
    """The head of a model; None where body and head are not what the model computes."""
    parts = parts_of(model)
    if parts is None:
        return None
    body, layer, args = parts
    plain = layer.as_linear if hasattr(layer, "as_linear") else layer
    divided = getattr(args, "logits_scaling", None) or 1.0
    times = getattr(args, "logit_scale", None) or 1.0
    cap = getattr(args, "final_logit_softcapping", None)

    def logits(states: mx.array) -> mx.array:
        values: mx.array = plain(states)
        if divided != 1 or times != 1:
            values = values * (times / divided)
        return mx.tanh(values / cap) * cap if cap else values

    probe = mx.arange(PROBE)[None]
    theirs = model(probe)
    try:
        ours = logits(body(probe))
    except (TypeError, ValueError):  # the body gives more than states, or takes more than tokens
        return None
    if ours.shape != theirs.shape:
        return None
    theirs, ours = theirs.astype(mx.float32), ours.astype(mx.float32)
    tolerance = (TOLERANCE if _dtype(layer) == mx.float32 else HALF_TOLERANCE) * mx.std(theirs)
    alike = bool((mx.abs(theirs - ours).max() <= tolerance).item())
    return Head(body, logits, chunk_of(int(theirs.shape[-1]))) if alike else None


def _dtype(layer: nn.Module) -> mx.Dtype:
    """What the layer computes in: that of its scales where its weights are quantized."""
    dtype: mx.Dtype = layer.scales.dtype if "scales" in layer else layer.weight.dtype
    return dtype


def chunk_of(vocabulary: int) -> int:
    """Places of a part: a power of two whose logits take about CHUNK_BYTES."""
    places = FEWEST
    while places < MOST and places * 8 * vocabulary <= CHUNK_BYTES:
        places *= 2
    return places


def with_places(iterate: Iterate, chunk: int) -> Iterate:
    """`iterate`, whose batches also say where their targets are: (tokens, lengths, weight, places).

    Places are those of [rows x (tokens - 1)], -1 behind the last, to whole parts of `chunk`.
    """

    def batches(*arguments: Any, **options: Any) -> Iterator[Batch]:
        for tokens, lengths, *weight in iterate(*arguments, **options):
            ends, number = np.asarray(lengths), np.arange(1, tokens.shape[1])
            found = np.flatnonzero((number >= ends[:, :1]) & (number < ends[:, 1:]))
            places = np.full(-(-max(1, len(found)) // chunk) * chunk, -1, np.int32)
            places[: len(found)] = found
            yield tokens, lengths, *(weight or [mx.array(1.0)]), mx.array(places)

    return batches


def feed(world: World, head: Head | None) -> Feed:
    """What makes mlx-lm's `iterate_batches` of batches: this process's share, with places where `head` wants them."""
    return lambda batches: with_places(world.iterate(batches), head.chunk) if head else world.iterate(batches)


def loss_of(head: Head) -> Loss:
    """The mean loss over target tokens, as `masked_loss` computes it, for batches that say where these are."""

    def loss(
        model: nn.Module, batch: mx.array, lengths: mx.array, part: mx.array, places: mx.array
    ) -> tuple[mx.array, mx.array]:
        states = head.body(batch[:, :-1])
        states, targets = states.reshape(-1, states.shape[-1]), batch[:, 1:].reshape(-1)
        total, again = mx.array(0.0), places.shape[0] > head.chunk
        for start in range(0, places.shape[0], head.chunk):
            at = places[start : start + head.chunk]
            total = total + _nats(head, states[mx.maximum(at, 0)], targets[mx.maximum(at, 0)], at >= 0, again)
        count = (places >= 0).sum()
        return total / mx.maximum(count, 1) * part, count

    return loss


def _nats(head: Head, states: mx.array, targets: mx.array, counts: mx.array, again: bool) -> mx.array:
    """The sum of -log p of the targets that count; with `again` its logits are made once more for the gradient."""

    def of(states: mx.array) -> mx.array:
        losses: mx.array = nn.losses.cross_entropy(head.logits(states), targets)
        return (losses.astype(mx.float32) * counts).sum()

    nats: mx.array = (mx.checkpoint(of) if again else of)(states)
    return nats
