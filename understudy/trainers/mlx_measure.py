"""
What a step really takes, and how the model is changed to take less.

What mlx-lm does to a model for memory's sake is done here, too: a base quantized in memory, activations computed
again, gradients computed block by block.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.trainer import grad_checkpoint

from understudy import cpu, memory
from understudy.errors import ConfigError
from understudy.interfaces import Progress
from understudy.trainers import chat_rows, memory_fit
from understudy.trainers.lora_job import Fit, Job
from understudy.trainers.mlx_checkpoint import random_state, set_random_state
from understudy.trainers.mlx_group import Loss, World
from understudy.trainers.mlx_head import Feed
from understudy.trainers.mlx_plugins import Batches, ClippedAdamW

log = logging.getLogger("understudy.trainers.mlx_lora")


def limit_of(job: Job, world: World) -> memory.Limit:
    """What this run may take: what was set, or what the machine gives; of several processes, the least one has."""
    gigabytes = job.options.memory_limit_gb
    limit = memory.Limit(int(gigabytes * 1e9), "trainer.memory_limit_gb") if gigabytes else memory.machine_limit()
    if world.size == 1:
        return limit
    here = job.hosts.count(job.hosts[world.index])
    return memory_fit.part_of(limit, here, world.size, world.least)


def measure(
    job: Job,
    world: World,
    model: nn.Module,
    loss: Loss,
    feed: Feed,
    rows: Sequence[chat_rows.Row],
    fit: Fit,
    progress: Progress,
) -> Fit:
    """`fit` with what two steps on the longest batch take. Raises TooMuch, or ConfigError where no fallback is left."""
    if job.options.memory == "off" or fit.measured_memory_bytes is not None:
        return fit
    memory_fit.note(fit, job.out)
    progress(0, 1, f"trying the longest batch; memory {fit.memory_plan}")
    rows = memory_fit.longest(rows, fit.batch_size, fit.batch_tokens)
    batch = next(feed(Batches(0, fit.batch_tokens))(rows, len(rows), job.options.max_seq_length))
    optimizer = optimizer_of(job, lambda step: mx.array(1e-4), fit)
    peak = probe(model, optimizer, world.loss(loss), batch, compiled=not cpu.used())
    peak = -int(world.least(-peak))
    fit = memory_fit.measured(fit, peak, job.out)
    mx.reset_peak_memory()
    return fit


def optimizer_of(job: Job, rate: Callable[[mx.array], mx.array], fit: Fit) -> ClippedAdamW:
    """A new optimizer, which computes gradients block by block where that is what checkpointing needs."""
    kind = SettlingAdamW if fit.checkpointing and cpu.used() else ClippedAdamW
    return kind(rate, job.options.weight_decay, job.options.max_grad_norm)


def quantize(model: nn.Module, bits: int) -> None:
    """Quantize what can be: layers whose inputs come in whole groups. Raises ConfigError when there is none."""

    def can(name: str, module: nn.Module) -> bool:
        return hasattr(module, "to_quantized") and module.weight.shape[-1] % memory.GROUP == 0

    if not any(can(name, module) for name, module in model.named_modules()):
        raise ConfigError(
            [
                f"trainer.base_bits: no layer of this base has inputs in groups of {memory.GROUP}, so none can be "
                f"quantized to {bits} bits; set trainer.base_bits=16"
            ]
        )
    nn.quantize(model, memory.GROUP, bits, class_predicate=can)


def checkpoint(model: nn.Module) -> None:
    """Have the blocks of `model` compute their activations again in the backward pass.

    mlx-lm changes the class of the blocks for good, so this is for a process that trains once.
    """
    if not getattr(type(model.layers[0]), "_checkpointed", False):
        grad_checkpoint(model.layers[0])
        type(model.layers[0])._checkpointed = True


@contextmanager
def limits(most: int | None) -> Iterator[None]:
    """Hold mlx to `most` bytes where it runs on a GPU, as it was before afterwards.

    A CPU has no memory of its own, and mlx only waits there when it is over its limit.
    """
    if most is None or cpu.used():
        yield
        return
    before = [(mx.set_memory_limit, mx.set_memory_limit(most)), (mx.set_cache_limit, mx.set_cache_limit(most // 4))]
    if mx.metal.is_available():
        can = int(mx.device_info()["max_recommended_working_set_size"])
        before.append((mx.set_wired_limit, mx.set_wired_limit(min(most, can))))
    try:
        yield
    finally:
        for put_back, value in before:
            put_back(value)


def probe(
    model: nn.Module,
    optimizer: optimizers.Optimizer,
    loss: Callable[..., Any],
    batch: Sequence[mx.array],
    compiled: bool = True,
) -> int:
    """The most bytes mlx held during two steps on `batch`, which should be the largest there is.

    The model comes with its adapter and checkpointing, and keeps its weights; the random numbers stay where they
    were. The optimizer is used up: hand over one made for this.
    """
    weights = tree_flatten(model.trainable_parameters())
    random = random_state()
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]
    value_and_gradients = nn.value_and_grad(model, loss)

    def update(*batch: mx.array) -> mx.array:
        value: mx.array
        (value, _), gradients = value_and_gradients(model, *batch)
        optimizer.update(model, gradients)
        return value

    step = mx.compile(update, inputs=state, outputs=state) if compiled else update
    model.train()
    mx.reset_peak_memory()
    for _ in range(2):
        mx.eval(step(*batch), state)
    peak = int(mx.get_peak_memory())
    model.update(tree_unflatten(weights))
    set_random_state(random)
    mx.clear_cache()
    return peak


class SettlingAdamW(ClippedAdamW):
    """ClippedAdamW that computes the gradients block by block, for checkpointing without a compiled step."""

    def update(self, model: nn.Module, gradients: dict[str, Any]) -> None:
        """One step; its numbers are those of ClippedAdamW."""
        settle(gradients)
        super().update(model, gradients)


def settle(gradients: dict[str, Any]) -> None:
    """Compute gradients block by block, the top one first, so that what checkpointing made again is freed.

    Left to itself a step that is not compiled computes them in the order of their names, which keeps the
    activations of every block alive: checkpointing then saved a tenth (118 of 138 MB), with this 57 % (60 MB).
    """
    blocks: dict[int, list[mx.array]] = {}
    for name, gradient in tree_flatten(gradients):
        match = re.search(r"\blayers\.(\d+)\.", name)
        blocks.setdefault(int(match[1]) if match else -1, []).append(gradient)
    for number in sorted(blocks, reverse=True):
        mx.eval(blocks[number])
