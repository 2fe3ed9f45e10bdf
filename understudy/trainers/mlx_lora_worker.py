"""
The worker that tunes a base with LoRA. Started by `understudy.trainers.mlx_lora`.

Job: {base, train, valid, out, seed, options, base_digest, hosts, too_much}. It goes on from
`out`/last/resume.safetensors where there is one; the caller has seen to it that the settings are the same.
Result: the numbers of the adapter's card, or {problem: {kind, message}} for what the user can change, or
{too_much: bytes} when what was foretold went over the limit as it was measured.
"""

import errno
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, train
from mlx_lm.utils import load

from understudy.errors import AssetError, ConfigError, DatasetError
from understudy.interfaces import Progress
from understudy.trainers import (
    mlx_attention,
    mlx_checkpoint,
    mlx_fit,
    mlx_group,
    mlx_measure,
    mlx_rows,
    mlx_shape,
    mlx_sides,
)
from understudy.trainers.mlx_checkpoint import Checkpoints
from understudy.trainers.mlx_journal import Diverged, Journal, Stopped, TrainingState
from understudy.trainers.mlx_plugins import Batches, schedule, strict_loss
from understudy.trainers.mlx_samples import sampler
from understudy.trainers.mlx_sides import Side
from understudy.trainers.plan import Plan, plan_for
from understudy.worker import serve

log = logging.getLogger("understudy.trainers.mlx_lora")


class Run(NamedTuple):
    """Everything one training is made of."""

    job: dict[str, Any]
    out: Path
    model: nn.Module
    train: Side
    valid: Side
    plan: Plan
    batches: Batches
    journal: Journal
    ranks: int

    @property
    def iterate(self) -> Any:
        """What mlx-lm is given as `iterate_batches`."""
        return mlx_measure.shares(self.batches, self.ranks)


def run(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job; what the user can mend comes back as a result, the rest as a traceback in the log."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if mlx_fit.on_cpu():
        # mlx compiles by calling g++ on the CPU: 17 s the first time for 15 % of speed, and g++ may be missing.
        mx.disable_compile()
    if job.get("hosts"):
        job, progress = mlx_measure.own_place(job, progress)
    try:
        return tune(job, progress)
    except mlx_measure.TooMuch as error:
        return {"too_much": error.args[0]}
    except DatasetError as error:
        return _problem("dataset", str(error))
    except ConfigError as error:
        return _problem("config", "\n".join(error.problems))
    except AssetError as error:
        return _problem("asset", str(error))
    except Diverged as error:
        rate = job["options"]["learning_rate"]
        return _problem(
            "diverged",
            f"{error}; the best weights before that are kept in {job['out']}/best. Take a learning_rate below "
            f"{rate:g} (a third of it, to begin with), a larger warmup_ratio, or a smaller alpha",
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _problem(
            "asset", f"no space left for {job['out']}; free some, then run again: training goes on from its checkpoint"
        )


def tune(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train, keep the best adapter in `out`, and return the card's numbers."""
    with mlx_fit.limits(mlx_measure.limit_of(job).bytes if job["options"]["memory"] == "auto" else None):
        this, settled = prepare(job, progress)
        try:
            _train(this)
        except Stopped:
            log.info("stopped after iteration %d of %d", this.journal.state.iteration, this.plan.iterations)
        return settled | _finish(this)


def prepare(job: dict[str, Any], progress: Progress) -> tuple[Run, dict[str, Any]]:
    """All that comes before the first step, and what is settled by then; plan.json has what decides the weights."""
    out, ranks = Path(job["out"]), len(job.get("hosts") or [0])
    config = json.loads((Path(job["base"]) / "config.json").read_text(encoding="utf-8"))
    model, tokenizer = _load(job, config)
    (out / "dropped.jsonl").unlink(missing_ok=True)
    sides = [mlx_sides.read_side(name, job, tokenizer) for name in ("train", "valid")]
    asked = mlx_sides.batches_of(sides[0], job["options"])
    if ranks > 1:
        mlx_group.refuse_unequal("the tokens of train", sum(len(row.tokens) for row in sides[0].rows))
        mlx_group.refuse_unequal("the batches of an epoch", len(asked))
        mlx_group.refuse_unequal("the checkpoint to go on from", mlx_fit.kept(out) is not None)
    fit = mlx_fit.kept(out) or mlx_fit.decide(
        config, job["options"], sides[0].rows, mlx_measure.limit_of(job), ranks, job.get("too_much")
    )
    options = fit.over(job["options"])
    job = job | {"options": options}
    if fit.base_bits:
        mlx_fit.quantize(model, fit.base_bits)
    mlx_shape.add_lora(model, options, job["seed"])
    if fit.checkpointing:
        mlx_fit.checkpoint(model)
    fit = mlx_measure.measured(job, model, sides[0], fit, progress)
    ends = mlx_sides.batches_of(sides[0], options)
    plan = plan_for(len(ends), options)
    counted = mlx_sides.counted(sides, ends, plan, options) | fit.over({"base_bits": fit.base_bits})
    counted["trainable_parameters"] = _write_down(job, model, tokenizer, sides[0], counted)
    settled = counted | fit.model_dump() | {"ranks": ranks}
    log.info("settings %s; plan %s", json.dumps(options), json.dumps(settled))
    progress(0, plan.iterations, f"{settled['trainable_parameters']:,} weights, {plan.steps} steps")
    return _assemble(job, model, tokenizer, sides, plan, fit, progress), settled


def _load(job: dict[str, Any], config: dict[str, Any]) -> tuple[nn.Module, Any]:
    """The base and its tokenizer. Raises ConfigError when it cannot be tuned on chats."""
    asked = job["options"]["base_bits"]
    if "quantization" in config and asked not in ("auto", config["quantization"]["bits"]):
        has = config["quantization"]["bits"]
        raise ConfigError(
            [f"trainer.base_bits: this base is quantized to {has} bits already, not {asked}; set it to auto, or {has}"]
        )
    model, tokenizer = load(job["base"], lazy=True)
    if not tokenizer.chat_template:
        raise ConfigError(
            [
                f"base: {Path(job['base']).name} has no chat template, so there is no way to ask it; "
                "take an instruct model"
            ]
        )
    if mlx_fit.on_cpu():
        model.set_dtype(mx.float32)  # no BLAS helps with bfloat16 there: a tenth of the speed
        mlx_attention.skip_masked(model)
    return model, tokenizer


def _write_down(job: dict[str, Any], model: nn.Module, tokenizer: Any, side: Side, plan: dict[str, Any]) -> int:
    """How many weights are trained; the adapter's config, the plan and the first batch as the model sees it go to disk.

    Nothing of it was measured: the digest of the adapter's folder counts these files.
    """
    out, options = Path(job["out"]), job["options"]
    config, trained = mlx_shape.effective(model)
    config |= {"base": job["base_digest"]}
    plan = plan | {"trainable_parameters": trained}
    for file, content in (("best/adapter_config", config), ("last/adapter_config", config), ("plan", plan)):
        (out / file).parent.mkdir(exist_ok=True)
        (out / f"{file}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    order = (options["batch_tokens"], options["gradient_accumulation_steps"])
    first = next(mlx_rows.batches(side.rows, options["batch_size"], job["seed"], 0, *order))
    (out / "first_batch.txt").write_text(mlx_rows.show(*first, tokenizer), encoding="utf-8")
    return trained


def _assemble(
    job: dict[str, Any],
    model: nn.Module,
    tokenizer: Any,
    sides: list[Side],
    plan: Plan,
    fit: mlx_fit.Fit,
    progress: Progress,
) -> Run:
    options, out, (train_side, valid_side) = job["options"], Path(job["out"]), sides
    rate = schedule(options["learning_rate"], plan.steps, options["warmup_ratio"], options["lr_scheduler"])
    optimizer, ranks = mlx_measure.optimizer_of(options, rate, fit), len(job.get("hosts") or [0])
    checkpoints = Checkpoints(out / "last" / "resume.safetensors", model, optimizer)
    journal = Journal(out, model, plan, TrainingState(options["tolerance"]), checkpoints, options["patience"], progress)
    batches = Batches(job["seed"], options["batch_tokens"], options["gradient_accumulation_steps"])
    if valid_side.rows:
        size, limit = options["batch_size"], options["max_seq_length"]
        journal.validate = lambda: evaluate(
            model, valid_side.rows, size, -1, limit, strict_loss, mlx_measure.shares(batches, ranks)
        )
    asked = valid_side if valid_side.rows else train_side
    stops = set(tokenizer.eos_token_ids)
    journal.sample = sampler(model, tokenizer, asked.rows, asked.questions, stops, options["sample_tokens"])
    return Run(job, out, model, train_side, valid_side, plan, batches, journal, ranks)


def _train(this: Run) -> None:
    """Go through the steps that are left. Raises Stopped, Diverged, OSError."""
    journal, plan, options = this.journal, this.plan, this.job["options"]
    this.batches.done = journal.resume()
    if journal.done:
        log.info("going on after iteration %d of %d", journal.done, plan.iterations)
        journal.progress(journal.done, plan.iterations, f"going on after iteration {journal.done}")
    else:
        journal.look(0)
    if journal.finished:
        raise Stopped
    arguments = TrainingArgs(
        batch_size=options["batch_size"],
        iters=plan.iterations - journal.done,
        steps_per_report=plan.accumulation,
        steps_per_save=plan.iterations + 1,
        max_seq_length=options["max_seq_length"],
        adapter_file=str(this.out / "last" / "adapters.safetensors"),
        grad_accumulation_steps=plan.accumulation,
    )
    train(
        this.model,
        journal.checkpoints.optimizer,
        this.train.rows,
        None,
        arguments,
        mlx_measure.loss_of(this.ranks),
        this.iterate,
        journal,
    )


def _finish(this: Run) -> dict[str, Any]:
    """Write the last weights, put the best where mlx-lm looks for them, and say what came of it."""
    state, out = this.journal.state, this.out
    mlx_checkpoint.write(out / "last" / "adapters.safetensors", mlx_checkpoint.trainable(this.model))
    for name in ("adapters.safetensors", "adapter_config.json"):
        shutil.copyfile(out / "best" / name, out / name)
    losses = (state.first, state.best)
    if not this.valid.rows:
        state.best_iteration, losses = state.iteration, (state.first_train, state.last_train)
    elapsed = this.journal.clock() - this.journal.began
    return {
        "steps": int(this.journal.checkpoints.optimizer.step.item()),
        "iterations": state.iteration,
        "best_iteration": state.best_iteration,
        "base_valid_loss": losses[0],
        "best_valid_loss": losses[1],
        "epochs": state.iteration / this.plan.iterations_per_epoch,
        "stopped_early": state.iteration < this.plan.iterations,
        "tokens_per_second": state.answer_tokens / state.training_seconds,
        "overhead_share": (this.journal.own_seconds + this.journal.sample_seconds) / elapsed,
        "samples_share": this.journal.sample_seconds / elapsed,
        "peak_memory_bytes": mx.get_peak_memory(),
        "seconds": elapsed,
    }


def _problem(kind: str, message: str) -> dict[str, Any]:
    return {"problem": {"kind": kind, "message": message}}


if __name__ == "__main__":
    if os.environ.get("MLX_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")) != "0":
        os.dup2(2, 1)  # only the first rank speaks: lines of two would be torn apart
    serve(run)
