"""
The worker that measures how fast this machine computes.

Its job is a number of seconds, its result a Speed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from understudy import memory, worker
from understudy.interfaces import Progress

RANK = 8
BLOCKS, HIDDEN, INTERMEDIATE, VOCABULARY, ROWS, TOKENS = 4, 768, 2048, 8000, 2, 128
"""Of the model whose training is timed: as wide as a small base, so that its step is computed as one of theirs."""
OPERATIONS = 4
"""Per weight and token of a step: two forward and two back, since frozen weights need no gradients of their own."""


@dataclass(frozen=True)
class Speed:
    """What the worker measured."""

    device: Literal["metal", "cuda", "cpu"]
    name: str
    gflops: float
    step_gflops: float
    """Of a training step, which reaches about half of what multiplying alone does."""
    limit_bytes: int
    limit_why: str


def run(seconds: float, progress: Progress) -> Speed:
    """Measure for about `seconds`, a third on multiplying, the rest on training."""
    import mlx.core as mx

    device: Literal["metal", "cuda", "cpu"] = "cpu"
    if mx.default_device().type == mx.DeviceType.gpu:
        device = "metal" if mx.metal.is_available() else "cuda"
    else:
        mx.disable_compile()  # as training does there
    side, kind = (1024, mx.float32) if device == "cpu" else (4096, mx.bfloat16)
    square, limit = mx.random.normal((side, side)).astype(kind), memory.machine_limit()
    multiplications = _rate(lambda: mx.eval(square @ square), seconds / 3)
    return Speed(
        device,
        str(mx.device_info().get("device_name", device)),
        multiplications * 2 * side**3 / 1e9,
        _step_gflops(seconds * 2 / 3),
        limit.bytes,
        limit.why,
    )


def _step_gflops(seconds: float) -> float:
    import mlx.core as mx
    from mlx import nn, optimizers
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = llama.Model(llama.ModelArgs("llama", HIDDEN, BLOCKS, INTERMEDIATE, HIDDEN // 64, 1e-5, VOCABULARY))
    weights = sum(int(array.size) for _, array in tree_flatten(model.parameters()))
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": RANK, "scale": 2.0, "dropout": 0.0})
    batch = mx.random.randint(0, VOCABULARY, (ROWS, TOKENS + 1))
    optimizer = optimizers.AdamW(1e-4)

    def loss(model: nn.Module) -> mx.array:
        return mx.mean(nn.losses.cross_entropy(model(batch[:, :-1]), batch[:, 1:]))

    def update() -> None:
        optimizer.update(model, nn.value_and_grad(model, loss)(model)[1])
        mx.eval(model.trainable_parameters(), optimizer.state)

    return _rate(update, seconds) * OPERATIONS * weights * ROWS * TOKENS / 1e9


def _rate(work: Callable[[], None], seconds: float) -> float:
    """How many times per second `work` completes, after one warm-up."""
    work()
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    worker.serve(float, run)
