"""
How long a run trains, and what identifies it when it resumes. No mlx here.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import ConfigError
from understudy.trainers import merge
from understudy.trainers.lora_job import LoraOptions

PAGES, PAGE_BYTES = 256, 4096


class Plan(NamedTuple):
    """How long to train, counted in what mlx-lm counts."""

    steps: int
    accumulation: int
    steps_per_evaluation: int
    iterations_per_epoch: int
    save_every: int | None = None

    @property
    def iterations(self) -> int:
        """A multiple of the accumulation: mlx-lm never applies the gradients of a remainder."""
        return self.steps * self.accumulation

    def evaluates_after(self, step: int) -> bool:
        """Whether the valid set is evaluated after this step: before the first, and always after the last."""
        return step % self.steps_per_evaluation == 0 or step == self.steps

    def saves_after(self, step: int) -> bool:
        """Whether a numbered checkpoint is written after this step."""
        return self.save_every is not None and step % self.save_every == 0


def plan_for(iterations_per_epoch: int, options: LoraOptions) -> Plan:
    """Epochs as steps, rounded up to whole ones; at least one. Raises ConfigError when one is more than `epochs`."""
    accumulation, epochs = options.gradient_accumulation_steps, options.epochs
    if accumulation > iterations_per_epoch * max(1, epochs):
        raise ConfigError(
            [
                f"trainer.gradient_accumulation_steps: {accumulation} iterations make a step here, but an epoch has "
                f"{iterations_per_epoch} and trainer.epochs is {epochs:g}; take a smaller one, or a smaller batch_size"
            ]
        )
    steps = max(1, math.ceil(epochs * iterations_per_epoch / accumulation))
    per_evaluation = max(1, int(iterations_per_epoch / accumulation / options.evaluations_per_epoch))
    return Plan(steps, accumulation, per_evaluation, iterations_per_epoch, options.save_every)


def rate_at(step: int, peak: float, steps: int, warmup_ratio: float, lr_scheduler: str) -> float:
    """The learning rate of a step (from 0): a linear rise, then a fall that would reach 0 one step after the last."""
    warmup = min(math.ceil(steps * warmup_ratio), steps - 1)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    fraction = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * ((1 + math.cos(math.pi * fraction)) / 2 if lr_scheduler == "cosine" else 1 - fraction)


def identity(base: Path, train: Path, valid: Path, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """All a run depends on. Two runs with the same identity go through the same losses."""
    splits = {
        name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in (("train", train), ("valid", valid))
    }
    return {**options, "seed": seed, "base": base_digest(base), **splits}


def base_digest(base: Path) -> str:
    """A digest of a base's shape and of pages from all over its weights: seconds less than one of every byte."""
    digest = hashlib.sha256((base / "config.json").read_bytes())
    for shard in merge.shards(base):
        size = shard.stat().st_size
        shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in merge.tensors(shard).items()}
        digest.update(json.dumps([size, shapes], sort_keys=True).encode())
        with shard.open("rb") as content:
            for page in range(PAGES):
                content.seek(max(0, size - PAGE_BYTES) * page // (PAGES - 1))
                digest.update(content.read(PAGE_BYTES))
    return digest.hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one phrase each."""
    return [
        f"{name} {_short(before.get(name))}, now {_short(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return f"{text[1:9]}…" if isinstance(value, str) and len(value) == 64 else text
