"""What a step with torch may take, what it really takes, and the model changed to take less."""

import logging
from pathlib import Path
from typing import Any

import psutil
import torch

from understudy import memory
from understudy.interfaces import Progress
from understudy.trainers import chat_rows, memory_fit
from understudy.trainers.chat_rows import Row
from understudy.trainers.lora_job import Fit, Job
from understudy.trainers.torch_checkpoint import random_state, set_random_state
from understudy.trainers.torch_group import World
from understudy.trainers.torch_head import Student
from understudy.trainers.torch_loop import batch_of
from understudy.trainers.torch_model import Numbers

log = logging.getLogger("understudy.trainers.peft_lora")


class Meter:
    """The most memory that was held since it was made: of the card, or of this process beyond what it held then."""

    def __init__(self, device: str) -> None:
        self.device, self.before = device, 0
        self.before = 0 if device == "cuda" else self._now()

    def reset(self) -> None:
        """Count from what is held now on."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        """In bytes; where the system does not say, what is held now."""
        if self.device == "cuda":
            return int(torch.cuda.max_memory_allocated())
        status = Path("/proc/self/status")
        if self.device == "cpu" and status.exists():
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            return max(1, int(lines["VmHWM"].split()[0]) * 1024 - self.before)
        return max(1, self._now() - self.before)

    def _now(self) -> int:
        if self.device == "mps":
            return int(torch.mps.driver_allocated_memory())
        held = psutil.Process().memory_info()
        return int(getattr(held, "peak_wset", held.rss))


def limit_of(job: Job, device: str, world: World) -> memory.Limit:
    """What this process may take: what was set, or what the machine gives; of several processes, the least one has."""
    limit = _limit_of(job, device)
    if world.size == 1:
        return limit
    return memory_fit.part_of(limit, 1 if device == "cuda" else world.size, world.size, world.least)


def _limit_of(job: Job, device: str) -> memory.Limit:
    if gigabytes := job.options.memory_limit_gb:
        return memory.Limit(int(gigabytes * 1e9), "trainer.memory_limit_gb")
    if device == "cuda":
        return memory.Limit(int(0.9 * torch.cuda.mem_get_info()[0]), "90 % of what is free on the card")
    free = memory.Limit(int(0.9 * memory.free_bytes()), "90 % of the memory that is free now")
    if device == "mps":
        return min(free, memory.Limit(int(0.85 * torch.mps.recommended_max_memory()), "85 % of what Metal recommends"))
    return free


def decide(config: dict[str, Any], job: Job, rows: list[Row], numbers: Numbers, quantizes: bool, world: World) -> Fit:
    """The first of the fallbacks that is estimated to fit. Raises ConfigError when none is."""
    fit = memory_fit.decide(
        config,
        job.options,
        rows,
        limit_of(job, numbers.device, world),
        cpu=numbers.device == "cpu",
        processes=world.size,
        too_much=job.too_much,
        torch_bytes=numbers.bytes,
        quantizes=quantizes,
    )
    return fit.model_copy(update={"dtype": numbers.dtype, "device": numbers.device, "eager": False})


def checkpoint(model: Any) -> None:
    """Have the blocks of `model` compute their activations again in the backward pass."""
    name = "activation_checkpointing" if hasattr(model, "activation_checkpointing_enable") else "gradient_checkpointing"
    getattr(model, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": False}})


def measure(
    job: Job, student: Student, rows: list[Row], fit: Fit, meter: Meter, world: World, progress: Progress
) -> Fit:
    """`fit` with what a step on the longest batch takes. Raises TooMuch, or ConfigError where no fallback is left."""
    if job.options.memory == "off" or fit.measured_memory_bytes is not None:
        return fit
    memory_fit.note(fit, job.out)
    progress(0, 1, f"trying the longest batch; memory {fit.memory_plan}")
    batch = world.share(*chat_rows.pad(memory_fit.longest(rows, fit.batch_size, fit.batch_tokens)))
    try:
        peak = probe(student, batch_of(*batch), meter)
    except torch.OutOfMemoryError:
        if fit.predicted_memory_bytes is None or fit.memory_limit_bytes is None:
            raise
        peak = fit.memory_limit_bytes
    return memory_fit.measured(fit, -int(world.least(-peak)), job.out)


def probe(student: Student, batch: dict[str, Any], meter: Meter) -> int:
    """The most bytes held during a step on `batch`; weights, gradients and random numbers stay as they were."""
    random, device = random_state(), student.numbers.device
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    student.train()
    meter.reset()
    nats, _ = student(batch["tokens"].to(device), batch["lengths"].to(device))
    nats.backward()
    moments = [torch.zeros_like(weight) for weight in trained for _ in range(2)]
    peak = meter.peak()
    del moments, nats
    for weight in trained:
        weight.grad = None
    set_random_state(random)
    if device == "cuda":
        torch.cuda.empty_cache()
    return peak
