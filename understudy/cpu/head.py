"""
The head over the vocabulary by numpy: only for the tokens that a loss is taken of, and a part of them at a time.

Of a small model's arithmetic it is a fifth, and its exponentials were a quarter of the time of a step.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx import nn

from understudy.cpu.elementwise import Array

CHUNK_BYTES = 64 << 20
"""Memory that the logits of one part may take."""
PROBE, TOLERANCE = 8, 1e-4
Loss = Callable[..., tuple[mx.array, mx.array]]


class Head(NamedTuple):
    """A model as what it computes before its head, and its head."""

    body: Callable[[mx.array], mx.array]
    """Tokens [rows, places] > states [rows, places, width]."""
    weight: Array
    """[vocabulary, width]"""
    scale: float
    """What the logits are multiplied with."""

    def log_p(self, states: Array) -> Iterator[tuple[slice, Array]]:
        """Log-probabilities [places, vocabulary] after some of the `states` [places, width] at a time."""
        step = max(1, CHUNK_BYTES // (4 * len(self.weight)))
        for start in range(0, len(states), step):
            part = slice(start, min(start + step, len(states)))
            logits = self._logits(states[part])
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            yield part, logits

    def nats(self, states: Array, targets: np.ndarray[Any, Any]) -> Array:
        """-log p of each target, [places]."""
        result = np.empty(len(targets), np.float32)
        for part, log_p in self.log_p(states):
            result[part] = -log_p[np.arange(len(log_p)), targets[part]]
        return result

    def nats_and_gradient(self, states: Array, targets: np.ndarray[Any, Any]) -> tuple[float, Array]:
        """The sum of -log p of the targets, and its gradient [places, width]."""
        total, gradient = 0.0, np.empty_like(states)
        for part, log_p in self.log_p(states):
            rows = np.arange(len(log_p))
            total -= float(log_p[rows, targets[part]].sum(dtype=np.float64))
            shares = np.exp(log_p, out=log_p)
            shares[rows, targets[part]] -= 1
            np.matmul(shares, self.weight, out=gradient[part])
        gradient *= self.scale
        return total, gradient

    def _logits(self, states: Array) -> Array:
        logits: Array = states @ self.weight.T
        if self.scale != 1:
            logits *= self.scale
        return logits


def parts_of(model: nn.Module) -> tuple[nn.Module, nn.Module, Any] | None:
    """What a model computes its states with, the layer that makes logits of them, and its sizes; None without any."""
    text = getattr(model, "language_model", model)
    body = getattr(text, "model", None)
    layer = getattr(text, "lm_head", None) or getattr(body, "embed_tokens", None)
    return None if body is None or layer is None else (body, layer, getattr(text, "args", None))


def head_of(model: nn.Module) -> Head | None:
    """The head of a model in float32; None where body and head are not exactly what the model computes."""
    parts = parts_of(model)
    if parts is None or not isinstance(parts[1], nn.Linear | nn.Embedding) or parts[1].weight.dtype != mx.float32:
        return None
    body, layer, args = parts
    scaling = getattr(args, "logits_scaling", 1.0) or 1.0
    head = Head(body, np.asarray(layer.weight), 1 / scaling)
    probe = mx.arange(min(PROBE, len(head.weight)))[None]
    theirs = np.array(model(probe).astype(mx.float32))[0]
    try:
        ours = head._logits(np.asarray(head.body(probe))[0])
    except (TypeError, ValueError):  # the body gives more than states, or takes more than tokens
        return None
    alike = ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * theirs.std())
    return head if alike else None


def loss_of(head: Head) -> Loss:
    """The mean loss over target tokens as `masked_loss` computes it, which see for what it takes and gives."""

    @mx.custom_function  # type: ignore[untyped-decorator]
    def total(states: mx.array, places: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        """The sum over the places, and its gradient."""
        values, at = np.asarray(states).reshape(-1, states.shape[-1]), np.asarray(places)
        gradient = np.zeros_like(values)
        nats, gradient[at] = head.nats_and_gradient(values[at], np.asarray(targets))
        return mx.array(nats), mx.array(gradient.reshape(states.shape))

    @total.vjp  # type: ignore[untyped-decorator]
    def _(primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]) -> tuple[mx.array, ...]:
        return outputs[1] * cotangents[0], mx.zeros_like(primals[1]), mx.zeros_like(primals[2])

    def loss(
        model: nn.Module, batch: mx.array, lengths: mx.array, part: mx.array | float = 1.0
    ) -> tuple[mx.array, mx.array]:
        tokens, ends = np.asarray(batch), np.asarray(lengths)
        number = np.arange(1, tokens.shape[1])
        places = np.flatnonzero((number >= ends[:, :1]) & (number < ends[:, 1:]))
        targets = tokens[:, 1:].reshape(-1)[places]
        states = head.body(batch[:, :-1])
        if model.training:
            both: Any = total(states, mx.array(places), mx.array(targets))
            nats: mx.array = both[0]
        else:
            nats = mx.array(head.nats(np.asarray(states).reshape(-1, states.shape[-1])[places], targets).sum())
        return nats / max(1, len(places)) * part, mx.array(len(places))

    return loss
