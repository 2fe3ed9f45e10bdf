"""
The worker that tunes a base with LoRA. Started by `understudy.trainers.mlx_lora`.

Job: {base, train, valid, out, seed, options, base_digest}. It goes on from `out`/last/resume.safetensors
where there is one; the caller has seen to it that the settings are the same.
Result: the numbers of the adapter's card, or {problem: {kind, message}} for what the user can change.
"""

import errno
import json
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, train
from mlx_lm.utils import load

from understudy.errors import AssetError, ConfigError, DatasetError
from understudy.interfaces import Report
from understudy.trainers import mlx_checkpoint, mlx_rows, mlx_shape
from understudy.trainers.mlx_checkpoint import Checkpoints
from understudy.trainers.mlx_journal import Diverged, Journal, Progress, Stopped
from understudy.trainers.mlx_plugins import Batches, ClippedAdamW, schedule, strict_loss
from understudy.trainers.mlx_samples import sampler
from understudy.trainers.plan import Plan, plan_for
from understudy.worker import serve

log = logging.getLogger("understudy.trainers.mlx_lora")


class Side(NamedTuple):
    """Train or valid: the rows that are short enough, what they ask, and how many are too long."""

    rows: list[mlx_rows.Row]
    questions: list[str]
    dropped: int


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


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Do the job; what the user can mend comes back as a result, the rest as a traceback in the log."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if mx.default_device().type == mx.DeviceType.cpu:
        # mlx compiles by calling g++ on the CPU: 17 s the first time for 15 % of speed, and g++ may be missing.
        mx.disable_compile()
    try:
        return tune(job, report)
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
            f"{rate:g} (a third of it, to begin with), a longer warmup, or a smaller scale",
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _problem(
            "asset", f"no space left for {job['out']}; free some, then run again: training goes on from its checkpoint"
        )


def tune(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Train, keep the best adapter in `out`, and return the card's numbers."""
    this, settled = prepare(job, report)
    try:
        _train(this)
    except Stopped:
        log.info("stopped after iteration %d of %d", this.journal.progress.iteration, this.plan.iterations)
    return settled | _finish(this)


def prepare(job: dict[str, Any], report: Report) -> tuple[Run, dict[str, Any]]:
    """All that comes before the first update, and what is settled by then; written to plan.json, too."""
    options, out = job["options"], Path(job["out"])
    model, tokenizer = load(job["base"], lazy=True)
    if mx.default_device().type == mx.DeviceType.cpu:
        model.set_dtype(mx.float32)  # no BLAS helps with bfloat16 there: a tenth of the speed
    (out / "dropped.jsonl").unlink(missing_ok=True)
    sides = [_side(name, job, tokenizer) for name in ("train", "valid")]
    ends = _batches_of(sides[0], options)
    mlx_shape.add_lora(model, options, job["seed"])
    config, trainable = mlx_shape.effective(model)
    config |= {"base": job["base_digest"]}
    plan = plan_for(len(ends), options)
    settled = _settled(sides, ends, plan, options) | {"trainable_parameters": trainable}
    for file, content in (("best/adapter_config", config), ("last/adapter_config", config), ("plan", settled)):
        (out / file).parent.mkdir(exist_ok=True)
        (out / f"{file}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    first = next(mlx_rows.batches(sides[0].rows, options["batch_size"], job["seed"], 0, options["batch_tokens"]))
    (out / "first_batch.txt").write_text(mlx_rows.show(*first, tokenizer), encoding="utf-8")
    log.info("settings %s; plan %s", json.dumps(options), json.dumps(settled))
    report(0, plan.iterations, f"{trainable:,} weights, {plan.updates} updates")
    return _assemble(job, model, tokenizer, sides, plan, report), settled


def _batches_of(side: Side, options: dict[str, Any]) -> list[int]:
    """Where the batches of an epoch end. Raises DatasetError when there is none."""
    if not side.rows:
        why = f"each of its {side.dropped} rows is over max_seq_length ({options['max_seq_length']} tokens)"
        todo = (
            "see dropped.jsonl for their lengths and raise it" if side.dropped else "let more pairs through the gates"
        )
        raise DatasetError(f"train.jsonl has no row to train on: {why if side.dropped else 'it is empty'}; {todo}")
    return mlx_rows.edges(side.rows, options["batch_size"], options["batch_tokens"])


def _settled(sides: list[Side], ends: list[int], plan: Plan, options: dict[str, Any]) -> dict[str, Any]:
    train_side, valid_side = sides
    return {
        "train_rows": len(train_side.rows),
        "train_dropped": train_side.dropped,
        "valid_rows": len(valid_side.rows),
        "valid_dropped": valid_side.dropped,
        "answer_tokens": sum(len(row.tokens) - row.offset for row in train_side.rows),
        "longest_row": max(len(row.tokens) for row in train_side.rows),
        "padding_share": round(mlx_rows.padding_share(train_side.rows, ends), 6),
        "planned_updates": plan.updates,
        "iterations_per_epoch": plan.iterations_per_epoch,
        "updates_per_evaluation": plan.updates_per_evaluation,
        "planned_epochs": round(plan.iterations / plan.iterations_per_epoch, 3),
    }


def _assemble(
    job: dict[str, Any], model: nn.Module, tokenizer: Any, sides: list[Side], plan: Plan, report: Report
) -> Run:
    options, out, (train_side, valid_side) = job["options"], Path(job["out"]), sides
    rate = schedule(options["learning_rate"], plan.updates, options["warmup"], options["decay"])
    optimizer = ClippedAdamW(rate, options["weight_decay"], options["clip"])
    checkpoints = Checkpoints(out / "last" / "resume.safetensors", model, optimizer)
    journal = Journal(out, model, plan, Progress(options["tolerance"]), checkpoints, options["patience"], report)
    batches = Batches(job["seed"], options["batch_tokens"])
    if valid_side.rows:
        size, limit = options["batch_size"], options["max_seq_length"]
        journal.validate = lambda: evaluate(model, valid_side.rows, size, -1, limit, strict_loss, batches)
    asked = valid_side if valid_side.rows else train_side
    stops = set(tokenizer.eos_token_ids)
    journal.sample = sampler(model, tokenizer, asked.rows, asked.questions, stops, options["sample_tokens"])
    return Run(job, out, model, train_side, valid_side, plan, batches, journal)


def _side(name: str, job: dict[str, Any], tokenizer: Any) -> Side:
    limit = job["options"]["max_seq_length"]
    examples = mlx_rows.read(Path(job[name]))
    rows = [mlx_rows.encode(example, tokenizer, tokenizer.eos_token_ids) for example in examples]
    kept, dropped = mlx_rows.within(rows, limit)
    if dropped:
        mlx_rows.list_dropped(Path(job["out"]) / "dropped.jsonl", name, rows, dropped, limit)
    questions = [example.messages[-2].content for example, row in zip(examples, rows) if len(row.tokens) <= limit]
    return Side(kept, questions, len(dropped))


def _train(this: Run) -> None:
    """Go through the updates that are left. Raises Stopped, Diverged, OSError."""
    journal, plan, options = this.journal, this.plan, this.job["options"]
    this.batches.done = journal.resume()
    if journal.done:
        log.info("going on after iteration %d of %d", journal.done, plan.iterations)
        journal.report(journal.done, plan.iterations, f"going on after iteration {journal.done}")
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
        strict_loss,
        this.batches,
        journal,
    )


def _finish(this: Run) -> dict[str, Any]:
    """Write the last weights, put the best where mlx-lm looks for them, and say what came of it."""
    progress, out = this.journal.progress, this.out
    mlx_checkpoint.write(out / "last" / "adapters.safetensors", mlx_checkpoint.trainable(this.model))
    for name in ("adapters.safetensors", "adapter_config.json"):
        shutil.copyfile(out / "best" / name, out / name)
    losses = (progress.first, progress.best)
    if not this.valid.rows:
        progress.best_iteration, losses = progress.iteration, (progress.first_train, progress.last_train)
    elapsed = this.journal.clock() - this.journal.began
    return {
        "updates": int(this.journal.checkpoints.optimizer.step.item()),
        "iterations": progress.iteration,
        "best_iteration": progress.best_iteration,
        "base_valid_loss": losses[0],
        "best_valid_loss": losses[1],
        "epochs": progress.iteration / this.plan.iterations_per_epoch,
        "stopped_early": progress.iteration < this.plan.iterations,
        "tokens_per_second": progress.answer_tokens / progress.training_seconds,
        "overhead_share": (this.journal.own_seconds + this.journal.sample_seconds) / elapsed,
        "samples_share": this.journal.sample_seconds / elapsed,
        "peak_memory_bytes": mx.get_peak_memory(),
        "seconds": elapsed,
    }


def _problem(kind: str, message: str) -> dict[str, Any]:
    return {"problem": {"kind": kind, "message": message}}


if __name__ == "__main__":
    serve(run)
