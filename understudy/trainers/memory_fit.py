"""
What training has to change to fit the machine's memory, decided before it starts; `mlx_measure` measures it.

Each attempt is a line of memory.jsonl, and another once it was measured: a run that resumes keeps the last,
whatever is free by then. Where its measure is missing, the process ended while measuring, and the next one starts
at the next fallback. No digest of the adapter counts that file: what is free differs from run to run.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy import memory
from understudy.errors import ConfigError
from understudy.trainers import chat_rows
from understudy.trainers.lora_job import Fit, LoraOptions

log = logging.getLogger("understudy.trainers.memory")
DECISIONS = "memory.jsonl"

ALONE = "computed by mlx alone, which is slower"


class TooMuch(Exception):
    """What was measured does not fit; its argument is what the settings were estimated at, in bytes."""


def measured(fit: Fit, peak_bytes: int, out: Path) -> Fit:
    """`fit` with its measure, noted in `out`. Raises TooMuch where a fallback is left to try, else ConfigError."""
    limit, need = fit.memory_limit_bytes, peak_bytes + memory.RESERVE_BYTES
    if limit is not None and need > limit:
        if fit.predicted_memory_bytes is not None:
            raise TooMuch(fit.predicted_memory_bytes)
        raise ConfigError(
            [f"trainer: a step takes {need / 1e9:.1f} GB of {limit / 1e9:.1f} GB; take a smaller batch_tokens or base"]
        )
    log.info("a step takes %d bytes, estimated %s", peak_bytes, fit.predicted_memory_bytes)
    fit = fit.model_copy(update={"measured_memory_bytes": peak_bytes})
    note(fit, out)
    return fit


def part_of(limit: memory.Limit, here: int, size: int, least: Callable[[float], float]) -> memory.Limit:
    """The limit of one of `size` processes, `here` of them on this machine or card; `least` is over all of them."""
    return memory.Limit(int(least(limit.bytes / here)), f"{limit.why}, the part of one of {size} processes")


def note(fit: Fit, out: Path) -> None:
    """Add `fit` to what is known of the run in `out`."""
    with (out / DECISIONS).open("a", encoding="utf-8") as lines:
        lines.write(fit.model_dump_json() + "\n")


def last(out: Path) -> Fit | None:
    """The last decision of the run in `out`; None when there is none."""
    file = out / DECISIONS
    return Fit.model_validate_json(file.read_text(encoding="utf-8").splitlines()[-1]) if file.exists() else None


def resumed(out: Path) -> Fit | None:
    """The decision of the run that resumes in `out`; None for one that starts."""
    return last(out) if (out / "last" / "resume.safetensors").exists() else None


def decide(
    config: Mapping[str, Any],
    options: LoraOptions,
    rows: Sequence[chat_rows.Row],
    limit: memory.Limit,
    cpu: bool,
    processes: int = 1,
    too_much: int | None = None,
    torch_bytes: int | None = None,
    quantizes: bool = True,
) -> Fit:
    """The first of the fallbacks that is estimated to stay under `limit`. Raises ConfigError when none is.

    `too_much` is the estimate of one that went over the limit when it was measured; `torch_bytes` are those of a number
    where torch computes, and without `quantizes` the base keeps its bits.
    """
    fit = as_set(options)
    if options.memory == "off":
        return fit.model_copy(update={"eager": cpu and not fit.checkpointing})
    try:
        shape = shape_of(config, options, rows, cpu, processes, torch_bytes)
    except ConfigError as error:
        if too_much is not None:
            raise
        return fit.model_copy(update={"memory_plan": error.problems[0], "memory_limit_bytes": limit.bytes})
    fixed = {"checkpointing"} if options.grad_checkpoint != "auto" else set()
    fixed |= {"bits"} if options.base_bits != "auto" or "quantization" in config or not quantizes else set()
    aim = limit
    if too_much is not None:
        more = too_much + memory.RESERVE_BYTES - 1
        aim = memory.Limit(min(limit.bytes, more), "more was measured to go over the limit")
    plan = memory.plan(shape, aim, fixed)
    if plan.problem:
        raise ConfigError([f"trainer: {plan.problem}"])
    taken, sentence = plan.shape, plan.sentence
    if cpu and not taken.checkpointing and not torch_bytes:
        eager = replace(taken, eager=True)
        taken, sentence = (eager, sentence) if memory.fits(eager, aim) else (taken, f"{sentence}; {ALONE}")
    return fit.model_copy(
        update=_smaller(options, rows, plan.shape.batch_tokens, processes)
        | {
            "num_layers": plan.shape.layers if plan.shape.layers < shape.layers else options.num_layers,
            "checkpointing": plan.shape.checkpointing,
            "base_bits": plan.shape.bits if plan.shape.bits < shape.bits else fit.base_bits,
            "memory_plan": sentence,
            "eager": taken.eager,
            "predicted_memory_bytes": memory.predicted(taken),
            "memory_limit_bytes": limit.bytes,
        }
    )


def as_set(options: LoraOptions) -> Fit:
    """The options as they are, nothing estimated."""
    return Fit(
        batch_size=options.batch_size,
        batch_tokens=options.batch_tokens,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        num_layers=options.num_layers,
        checkpointing=options.grad_checkpoint == "on",
        base_bits=None if options.base_bits in ("auto", 16) else int(options.base_bits),
        memory_plan="not looked at: trainer.memory is off",
    )


def shape_of(
    config: Mapping[str, Any],
    options: LoraOptions,
    rows: Sequence[chat_rows.Row],
    cpu: bool,
    processes: int,
    torch_bytes: int | None = None,
) -> memory.Shape:
    """What is trained as set, with the longest row and the largest batch there really are. Raises ConfigError."""
    model = memory.model_of(config)
    number_bytes = torch_bytes or (4 if cpu else 2)
    bits = int(options.base_bits) if options.base_bits in (8, 4) else 8 * number_bytes
    if "quantization" in config:
        bits = int(config["quantization"]["bits"])
    return memory.Shape(
        model,
        options.rank,
        options.num_layers or model.layers,
        largest(rows, options.batch_size, options.batch_tokens, processes),
        max(map(chat_rows.width, rows)),
        bits,
        number_bytes=number_bytes,
        checkpointing=options.grad_checkpoint == "on",
        compiled=not cpu,
        torch=torch_bytes is not None,
    )


def largest(rows: Sequence[chat_rows.Row], size: int, budget: int, processes: int = 1) -> int:
    """Tokens of the largest batch of an epoch, padding included: of one process's share, where there are several."""
    batches = chat_rows.epoch(rows, chat_rows.edges(rows, size, budget), None)
    return max(-(-len(batch) // processes) * max(chat_rows.width(rows[i]) for i in batch) for batch in batches)


def longest(rows: Sequence[chat_rows.Row], size: int, budget: int) -> list[chat_rows.Row]:
    """The rows of the batch with the most tokens."""
    batches = chat_rows.epoch(rows, chat_rows.edges(rows, size, budget), None)
    most = max(batches, key=lambda batch: len(batch) * max(chat_rows.width(rows[i]) for i in batch))
    return [rows[i] for i in most]


def _smaller(options: LoraOptions, rows: Sequence[chat_rows.Row], tokens: int, processes: int) -> dict[str, object]:
    """Batches of at most `tokens`, and as many more of them for a step as they are smaller."""
    largest_size, budget = options.batch_size, options.batch_tokens
    sizes = [size for size in range(largest_size, 0, -1) if largest_size % size == 0]
    size = next((size for size in sizes if largest(rows, size, budget, processes) <= tokens), 1)
    accumulation = options.gradient_accumulation_steps * (largest_size // size)
    return {"batch_size": size, "batch_tokens": budget, "gradient_accumulation_steps": accumulation}
