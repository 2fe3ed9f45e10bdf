"""The worker that trains a small Llama on a stream of tokens. Started by `understudy.bases.scratch`."""

import time
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers
from mlx.utils import tree_flatten

from understudy.bases.scratch import ScratchJob, ScratchResult
from understudy.interfaces import Progress
from understudy.worker import serve

WARMUP_SHARE = 0.05
LOSSES_IN_A_MEAN = 10


def passages(tokens: np.ndarray, count: int, length: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches [count, length + 1] cut at random places of the stream."""
    rng = np.random.default_rng(seed)
    length = min(length, len(tokens) - 1)
    while True:
        starts = rng.integers(0, len(tokens) - length, size=count)
        yield np.stack([tokens[start : start + length + 1] for start in starts])


def build(config: dict[str, Any], seed: int) -> nn.Module:
    """The model of `config` with random weights."""
    from mlx_lm.models import llama

    mx.random.seed(seed)
    model = llama.Model(llama.ModelArgs.from_dict(config))
    mx.eval(model.parameters())
    return model


def optimizer(peak: float, steps: int) -> optimizers.Optimizer:
    """AdamW whose rate warms up, then falls along a cosine to a tenth."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    rise = optimizers.linear_schedule(peak / (warmup + 1), peak, warmup)
    fall = optimizers.cosine_decay(peak, max(1, steps - warmup), end=peak / 10)
    schedule = optimizers.join_schedules([rise, fall], [warmup])
    return optimizers.AdamW(schedule, betas=[0.9, 0.95], weight_decay=0.1, bias_correction=True)


def loss_of(model: nn.Module, batch: mx.array) -> mx.array:
    """Mean next-token loss in nats."""
    loss: mx.array = nn.losses.cross_entropy(model(batch[:, :-1]), batch[:, 1:], reduction="mean")
    return loss


def run(job: ScratchJob, progress: Progress) -> ScratchResult:
    """Train and save; the losses, and how long it took."""
    if mx.default_device().type == mx.DeviceType.cpu:
        # mlx compiles by calling g++ on the CPU: 17 s the first time for 15 % of speed, and g++ may be missing.
        mx.disable_compile()
    model, adamw = build(job.config, job.seed), optimizer(job.learning_rate, job.steps)
    value_and_gradients = nn.value_and_grad(model, loss_of)
    batches = passages(np.load(job.tokens), job.batch_size, job.passage_tokens, job.seed)
    losses: list[float] = []
    tokens, start = 0, time.monotonic()
    for step, batch in zip(range(1, job.steps + 1), batches):
        loss, gradients = value_and_gradients(model, mx.array(batch))
        gradients, _ = optimizers.clip_grad_norm(gradients, 1.0)
        adamw.update(model, gradients)
        mx.eval(model.parameters(), adamw.state, loss)
        losses.append(loss.item())
        tokens += batch[:, 1:].size
        progress(step, job.steps, f"loss {losses[-1]:.2f}")
    seconds = time.monotonic() - start
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(job.out), weights, metadata={"format": "pt"})
    return ScratchResult(
        parameters=sum(weight.size for weight in weights.values()),
        steps=len(losses),
        first_loss=round(losses[0], 4),
        last_loss=round(float(np.mean(losses[-LOSSES_IN_A_MEAN:])), 4),
        seconds=round(seconds, 1),
        tokens_per_second=round(tokens / seconds, 1),
    )


if __name__ == "__main__":
    serve(ScratchJob, run)
