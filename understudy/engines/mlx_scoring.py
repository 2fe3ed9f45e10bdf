"""Likelihoods in mlx, many rows at once and in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from understudy.engines import Row
from understudy.errors import ExportError
from understudy.records import Divergence

if TYPE_CHECKING:
    import mlx.core
    import mlx.nn

    from understudy.cpu.elementwise import Array
    from understudy.cpu.head import Head

_Values = TypeVar("_Values", list[float], "Array")
LOGIT_BYTES = 512 << 20
"""Memory the float32 logits of one scored batch may take, and as much again while they are normalised."""


def score(
    model: "mlx.nn.Module", rows: list[Row], batch_rows: int, vocabulary: int, finished: Callable[[int], None]
) -> list[list[float]]:
    """-log p of each token of each row's answer, in the order of `rows`; longest batches hold the fewest rows."""
    import mlx.core as mx

    scores: dict[int, list[float]] = {}
    head = _head(model)
    for batch in batches([len(prompt) + len(answer) for prompt, answer in rows], batch_rows, vocabulary):
        tokens = _padded([rows[place] for place in batch])
        if head:
            for place, states in zip(batch, np.asarray(head.body(tokens[:, :-1])), strict=True):
                scores[place] = head.nats(_of_answer(states, rows[place]), np.array(rows[place][1])).tolist()
            finished(len(scores))
            continue
        logits = model(tokens[:, :-1]).astype(mx.float32)
        chosen = mx.take_along_axis(logits, tokens[:, 1:, None], axis=-1).squeeze(-1)
        nats = _lists(mx.logsumexp(logits, axis=-1) - chosen)
        scores |= {place: _of_answer(row, rows[place]) for place, row in zip(batch, nats, strict=True)}
        finished(len(scores))
    return [scores[place] for place in range(len(rows))]


def divergences(
    model: "mlx.nn.Module", rows: list[Row], batch_rows: int, vocabulary: int, finished: Callable[[int], None]
) -> list[Divergence]:
    """KL(tuned || base) summed over the answer's tokens of each row. Raises ExportError without LoRA layers."""
    import mlx.core as mx

    results: dict[int, Divergence] = {}
    head = _head(model)
    # Two models' logits at once: rows are taken as if they were twice as wide.
    for batch in batches([2 * (len(prompt) + len(answer)) for prompt, answer in rows], batch_rows, vocabulary):
        tokens = _padded([rows[place] for place in batch])
        if head:
            tuned_states = np.asarray(head.body(tokens[:, :-1]))
            with adapter_off(model):
                base_states = np.asarray(head.body(tokens[:, :-1]))
            for place, *states in zip(batch, tuned_states, base_states, strict=True):
                total = _divergence(head, *(_of_answer(own, rows[place]) for own in states))
                results[place] = Divergence(nats=total, tokens=len(rows[place][1]))
            finished(len(results))
            continue
        tuned = _log_p(model, tokens)
        with adapter_off(model):
            base = _log_p(model, tokens)
            mx.eval(base)  # here: mlx is lazy, and the scale is back soon
        kl = _lists((mx.exp(tuned) * (tuned - base)).sum(axis=-1))
        for place, row in zip(batch, kl, strict=True):
            nats = _of_answer(row, rows[place])
            results[place] = Divergence(nats=sum(nats), tokens=len(nats))
        finished(len(results))
    return [results[place] for place in range(len(rows))]


def _head(model: "mlx.nn.Module") -> "Head | None":
    """What computes the same on a processor and faster, where the model has it."""
    from understudy import cpu
    from understudy.cpu.head import head_of

    return head_of(model) if cpu.used() else None


def _divergence(head: "Head", tuned: "Array", base: "Array") -> float:
    """KL(tuned || base) summed over the places of two arrays of states."""
    both = zip(head.log_p(tuned), head.log_p(base), strict=True)
    return sum(float((np.exp(ours) * (ours - theirs)).sum(dtype=np.float64)) for (_, ours), (_, theirs) in both)


@contextmanager
def adapter_off(model: "mlx.nn.Module") -> Iterator[None]:
    """The base's own outputs, from the same weights: every LoRA layer's scale is 0 for a while."""
    layers = [layer for _, layer in model.named_modules() if hasattr(layer, "lora_b")]
    if not layers:
        raise ExportError("the model has no LoRA layers, so there is nothing to compare it with; pass an adapter")
    if any(hasattr(layer, "m") for layer in layers):
        raise ExportError(
            "the adapter is DoRA, whose magnitudes stay when its scale is 0; only LoRA can be switched off"
        )
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        yield
    finally:
        for layer, scale in zip(layers, scales, strict=True):
            layer.scale = scale


def batches(lengths: list[int], batch_rows: int, vocabulary: int) -> list[list[int]]:
    """Places of rows of like length, so that padding is small and the logits fit LOGIT_BYTES."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda p: lengths[p]):
        room = min(batch_rows, LOGIT_BYTES // (4 * vocabulary * lengths[place]))
        if groups and len(groups[-1]) < room:
            groups[-1].append(place)  # the longest so far, so all of them fit
        else:
            groups.append([place])
    return groups


def pieces(model: "mlx.nn.Module", row: Row, tokens_at_once: int) -> Iterator[Any]:
    """Float32 numpy logits [tokens, vocabulary] that predict the row's answer, at most `tokens_at_once` at a time."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    prompt, answer = row
    cache = make_prompt_cache(model)
    if len(prompt) > 1:
        model(mx.array([prompt[:-1]]), cache=cache)  # its logits are never computed: only the cache is evaluated
        mx.eval([layer.state for layer in cache])
    read = [prompt[-1], *answer[:-1]]
    for start in range(0, len(read), tokens_at_once):
        logits = model(mx.array([read[start : start + tokens_at_once]]), cache=cache)[0].astype(mx.float32)
        yield np.array(logits)


def _padded(rows: list[Row]) -> "mlx.core.array":
    """Whole rows, padded on the right, where no answer sees it."""
    import mlx.core as mx

    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    return mx.array([prompt + answer + [0] * (width - len(prompt) - len(answer)) for prompt, answer in rows])


def _lists(values: "mlx.core.array") -> list[list[float]]:
    return [[float(value) for value in row] for row in values.tolist()]


def _of_answer(values: _Values, row: Row) -> _Values:
    """Of values for the second to the last token, those of the answer."""
    prompt, answer = row
    return values[len(prompt) - 1 : len(prompt) + len(answer) - 1]


def _log_p(model: "mlx.nn.Module", tokens: "mlx.core.array") -> "mlx.core.array":
    import mlx.core as mx

    logits = model(tokens[:, :-1]).astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
