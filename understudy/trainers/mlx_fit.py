"""
How a run is made to fit the machine's memory: planned before training, and measured with two steps.

Each way that was tried is a line of memory.jsonl, and again once it was measured: a run that goes on keeps the last,
whatever is free by then. Where its measure is missing, the process ended while measuring, and the next one begins
further down the ladder. No digest of the adapter counts that file: what is free differs from run to run.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.trainer import grad_checkpoint
from pydantic import Field

from understudy import memory
from understudy.errors import ConfigError
from understudy.records import Record
from understudy.trainers import mlx_rows
from understudy.trainers.mlx_plugins import ClippedAdamW

KEPT = "memory.jsonl"


class Fit(Record):
    """What training really does. Its names are those of the options it takes the place of, and of the card."""

    batch_size: int
    batch_tokens: int
    gradient_accumulation_steps: int
    num_layers: int | None
    checkpointing: bool
    base_bits: int | None = Field(description="the base is quantized to these in memory; None: it stays as it is")
    memory_plan: str
    predicted_memory_bytes: int | None = None
    measured_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None

    def over(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """`options` with what was decided in the place of what was asked for."""
        names = ("batch_size", "batch_tokens", "gradient_accumulation_steps", "num_layers")
        return dict(options) | {name: getattr(self, name) for name in names}

    def note(self, out: Path) -> None:
        """Add this to what is known of the run in `out`."""
        with (out / KEPT).open("a", encoding="utf-8") as lines:
            lines.write(self.model_dump_json() + "\n")


def kept(out: Path) -> Fit | None:
    """The decision of the run that goes on in `out`; None for one that begins."""
    file = out / KEPT
    if not (out / "last" / "resume.safetensors").exists() or not file.exists():
        return None
    return Fit.model_validate_json(file.read_text(encoding="utf-8").splitlines()[-1])


def decide(
    config: Mapping[str, Any],
    options: Mapping[str, Any],
    rows: Sequence[mlx_rows.Row],
    limit: memory.Limit,
    ranks: int = 1,
    too_much: int | None = None,
) -> Fit:
    """The first way down the ladder that is foretold to stay under `limit`. Raises ConfigError when none is.

    `too_much` is what was foretold of a way that went over the limit when it was measured.
    """
    asked = as_asked(options)
    if options["memory"] == "off":
        return asked
    try:
        shape = shape_of(config, options, rows, ranks)
    except ConfigError as error:
        if too_much is not None:
            raise
        return asked.model_copy(update={"memory_plan": error.problems[0], "memory_limit_bytes": limit.bytes})
    fixed = {"checkpointing"} if options["grad_checkpoint"] != "auto" else set()
    fixed |= {"bits"} if options["base_bits"] != "auto" or "quantization" in config else set()
    aim = limit
    if too_much is not None:
        more = too_much + memory.RESERVE_BYTES - 1
        aim = memory.Limit(min(limit.bytes, more), "more was measured to go over the limit")
    plan = memory.plan(shape, aim, fixed)
    if plan.problem:
        raise ConfigError([f"trainer: {plan.problem}"])
    micro = _smaller(options, rows, plan.shape.batch_tokens, ranks)
    return asked.model_copy(
        update=micro
        | {
            "num_layers": plan.shape.layers if plan.shape.layers < shape.layers else options["num_layers"],
            "checkpointing": plan.shape.checkpointing,
            "base_bits": plan.shape.bits if plan.shape.bits < shape.bits else asked.base_bits,
            "memory_plan": plan.sentence,
            "predicted_memory_bytes": memory.predicted(plan.shape),
            "memory_limit_bytes": limit.bytes,
        }
    )


def as_asked(options: Mapping[str, Any]) -> Fit:
    """The options as they are, nothing foretold."""
    bits = options["base_bits"]
    return Fit(
        **{name: options[name] for name in ("batch_size", "batch_tokens", "gradient_accumulation_steps", "num_layers")},
        checkpointing=options["grad_checkpoint"] == "on",
        base_bits=None if bits in ("auto", 16) else bits,
        memory_plan="not looked at: trainer.memory is off",
    )


def shape_of(
    config: Mapping[str, Any], options: Mapping[str, Any], rows: Sequence[mlx_rows.Row], ranks: int
) -> memory.Shape:
    """What is trained as asked for, with the longest row and the largest batch there really are. Raises ConfigError."""
    model, cpu = memory.model_of(config), on_cpu()
    whole = 32 if cpu else 16
    bits = options["base_bits"] if options["base_bits"] in (8, 4) else whole
    if "quantization" in config:
        bits = int(config["quantization"]["bits"])
    return memory.Shape(
        model,
        options["rank"],
        options["num_layers"] or model.layers,
        largest(rows, options["batch_size"], options["batch_tokens"], ranks),
        max(map(mlx_rows.width, rows)),
        bits,
        number_bytes=4 if cpu else 2,
        checkpointing=options["grad_checkpoint"] == "on",
        compiled=not cpu,
    )


def largest(rows: Sequence[mlx_rows.Row], size: int, budget: int, ranks: int = 1) -> int:
    """Tokens of the largest batch of an epoch, padding included: of one rank's share, where there are several."""
    ends = mlx_rows.edges(rows, size, budget)
    batches = mlx_rows.epoch(rows, ends, None)
    return max(-(-len(batch) // ranks) * max(mlx_rows.width(rows[i]) for i in batch) for batch in batches)


def longest(rows: Sequence[mlx_rows.Row], size: int, budget: int) -> list[mlx_rows.Row]:
    """The rows of the batch with the most tokens."""
    batches = mlx_rows.epoch(rows, mlx_rows.edges(rows, size, budget), None)
    most = max(batches, key=lambda batch: len(batch) * max(mlx_rows.width(rows[i]) for i in batch))
    return [rows[i] for i in most]


def _smaller(options: Mapping[str, Any], rows: Sequence[mlx_rows.Row], tokens: int, ranks: int) -> dict[str, int]:
    """Batches of at most `tokens`, and as many more of them for a step as they are smaller."""
    asked, budget = options["batch_size"], options["batch_tokens"]
    sizes = [size for size in range(asked, 0, -1) if asked % size == 0]
    size = next((size for size in sizes if largest(rows, size, budget, ranks) <= tokens), 1)
    accumulation = options["gradient_accumulation_steps"] * (asked // size)
    return {"batch_size": size, "batch_tokens": budget, "gradient_accumulation_steps": accumulation}


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


class SettlingAdamW(ClippedAdamW):
    """ClippedAdamW that computes the gradients block by block, for checkpointing without a compiled step."""

    def update(self, model: nn.Module, gradients: dict[str, Any]) -> None:
        """One step; its numbers are those of ClippedAdamW."""
        settle(gradients)
        super().update(model, gradients)


def checkpoint(model: nn.Module) -> None:
    """Have the blocks of `model` compute their activations again in the backward pass.

    mlx-lm changes the class of the blocks for good, so this is for a process that trains once.
    """
    if not getattr(type(model.layers[0]), "_checkpointed", False):
        grad_checkpoint(model.layers[0])
        type(model.layers[0])._checkpointed = True


def on_cpu() -> bool:
    """Whether mlx computes on the CPU here; steps are not compiled there."""
    return mx.default_device().type == mx.DeviceType.cpu


@contextmanager
def limits(most: int | None) -> Iterator[None]:
    """Hold mlx to `most` bytes where it runs on a GPU, as it was before afterwards.

    A CPU has no memory of its own, and mlx only waits there when it is over its limit.
    """
    if most is None or on_cpu():
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
    high, low = mx.random.state[0].tolist()
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]
    value_and_gradients = nn.value_and_grad(model, loss)

    def update(*batch: mx.array) -> mx.array:
        (value, _), gradients = value_and_gradients(model, *batch)
        optimizer.update(model, gradients)
        return value

    step = mx.compile(update, inputs=state, outputs=state) if compiled else update
    model.train()
    mx.reset_peak_memory()
    for _ in range(2):
        mx.eval(step(*batch), state)
    peak = mx.get_peak_memory()
    model.update(tree_unflatten(weights))
    mx.random.seed((high << 32) | low)  # mx.random.state takes no assignment in mlx 0.32.4
    mx.clear_cache()
    return peak


def settle(gradients: dict[str, Any]) -> None:
    """Compute gradients block by block, the top one first, so that what checkpointing made again is freed.

    Left to itself a step that is not compiled computes them in the order of their names, which keeps the
    activations of every block alive: checkpointing then saved a tenth (118 of 138 MB), with this 57 % (60 MB).
    """
    blocks: dict[int, list[mx.array]] = {}
    for name, gradient in tree_flatten(gradients):
        number = re.search(r"\blayers\.(\d+)\.", name)
        blocks.setdefault(int(number[1]) if number else -1, []).append(gradient)
    for number in sorted(blocks, reverse=True):
        mx.eval(blocks[number])
