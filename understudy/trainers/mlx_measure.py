"""
What a process of training may take and what a step takes, and what differs where several share the work.
"""

import logging
import shutil
import signal
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from understudy import memory
from understudy.errors import ConfigError
from understudy.interfaces import Progress
from understudy.trainers import mlx_fit, mlx_group
from understudy.trainers.mlx_plugins import Batches, ClippedAdamW, strict_loss
from understudy.trainers.mlx_sides import Side

JOIN_SECONDS = 120
"""A rank that waits longer than this for the others is ended."""

log = logging.getLogger("understudy.trainers.mlx_lora")


class TooMuch(Exception):
    """The measured peak is over the limit; the argument is what was foretold of it."""


def limit_of(job: dict[str, Any]) -> memory.Limit:
    """What this run may take: what was set, or what the machine gives; of several ranks, the least that one has."""
    set_to, hosts = job["options"]["memory_limit_gb"], job.get("hosts") or []
    limit = memory.Limit(int(set_to * 1e9), "trainer.memory_limit_gb") if set_to else memory.machine_limit()
    if len(hosts) < 2:
        return limit
    here = hosts.count(hosts[mx.distributed.init().rank()])
    least = int(mlx_group.least(limit.bytes / here))
    return memory.Limit(least, f"{limit.why}, the part of one of {len(hosts)} ranks")


def measured(job: dict[str, Any], model: nn.Module, side: Side, fit: mlx_fit.Fit, progress: Progress) -> mlx_fit.Fit:
    """`fit` with what two steps on the longest batch took. Raises TooMuch, or ConfigError where no plan is left."""
    options, ranks = job["options"], len(job.get("hosts") or [0])
    if options["memory"] == "off" or fit.measured_memory_bytes is not None:
        return fit
    fit.note(Path(job["out"]))
    progress(0, 1, f"memory: {fit.memory_plan}")
    rows = mlx_fit.longest(side.rows, options["batch_size"], options["batch_tokens"])
    batch = next(shares(Batches(0, options["batch_tokens"]), ranks)(rows, len(rows), options["max_seq_length"]))
    optimizer = optimizer_of(options, lambda step: mx.array(1e-4), fit)
    peak = mlx_fit.probe(model, optimizer, loss_of(ranks), batch, compiled=not mlx_fit.on_cpu())
    peak = -int(mlx_group.least(-peak)) if ranks > 1 else peak
    limit = fit.memory_limit_bytes
    if limit is not None and peak + memory.RESERVE_BYTES > limit:
        if fit.predicted_memory_bytes is not None:
            raise TooMuch(fit.predicted_memory_bytes)
        need = (peak + memory.RESERVE_BYTES) / 1e9
        raise ConfigError(
            [f"trainer: a step takes {need:.1f} GB of {limit / 1e9:.1f} GB; take a smaller batch_tokens or base"]
        )
    log.info("a step takes %d bytes, foretold %s", peak, fit.predicted_memory_bytes)
    fit = fit.model_copy(update={"measured_memory_bytes": peak})
    fit.note(Path(job["out"]))
    mx.reset_peak_memory()
    return fit


def own_place(job: dict[str, Any], progress: Progress) -> tuple[dict[str, Any], Progress]:
    """Join the other ranks; all but the first work in a folder of their own and tell nobody."""
    # Waiting for the others, mlx holds the interpreter: no thread could see that the parent is gone, a signal can.
    signal.alarm(JOIN_SECONDS)
    rank = mx.distributed.init(backend=job["options"]["backend"], strict=True).rank()
    signal.alarm(0)
    if rank == 0:
        return job, progress
    shared, out = Path(job["out"]), Path(job["out"]) / ".ranks" / str(rank)
    shutil.rmtree(out, ignore_errors=True)
    (out / "last").mkdir(parents=True)
    for name in ("last/resume.safetensors", "metrics.jsonl", mlx_fit.KEPT):
        if (shared / name).exists():
            shutil.copyfile(shared / name, out / name)
    options = job["options"] | {"sample_tokens": 0}
    return job | {"out": str(out), "options": options}, lambda done, total, note="": None


def shares(batches: Batches, ranks: int) -> Any:
    """What mlx-lm is given as `iterate_batches`: all of `batches`, or this rank's part of each."""
    return mlx_group.Shares(batches, mx.distributed.init().rank(), ranks) if ranks > 1 else batches


def loss_of(ranks: int) -> mlx_group.Loss:
    """The loss mlx-lm is given, for as many ranks as there are."""
    return mlx_group.shared(strict_loss, ranks) if ranks > 1 else strict_loss


def optimizer_of(options: dict[str, Any], rate: Any, fit: mlx_fit.Fit) -> ClippedAdamW:
    """A new optimizer, which computes gradients block by block where that is what checkpointing needs."""
    kind = mlx_fit.SettlingAdamW if fit.checkpointing and mlx_fit.on_cpu() else ClippedAdamW
    return kind(rate, options["weight_decay"], options["max_grad_norm"])
