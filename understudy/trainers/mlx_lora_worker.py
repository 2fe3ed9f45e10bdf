"""The worker that tunes a base with LoRA. Started by `understudy.trainers.mlx_lora`; its records are in `lora_job`."""

import json
import logging
import os
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, train
from mlx_lm.utils import load

from understudy import cpu
from understudy.errors import ConfigError
from understudy.interfaces import Progress
from understudy.records import AdapterCard
from understudy.text.tokenizer import for_mlx
from understudy.trainers import chat_rows, memory_fit, mlx_group, mlx_head, mlx_measure, mlx_shape
from understudy.trainers.chat_rows import Split
from understudy.trainers.journal import sample_length
from understudy.trainers.lora_job import Counts, Fit, Job, Outcome
from understudy.trainers.lora_run import advised, card_of, counts_of, edges_of, put_best, write_plan
from understudy.trainers.mlx_checkpoint import Checkpoints
from understudy.trainers.mlx_group import Loss, World
from understudy.trainers.mlx_head import Iterate
from understudy.trainers.mlx_journal import Journal, Stopped, TrainingState
from understudy.trainers.mlx_plugins import Batches, loss_for, masked_loss, schedule
from understudy.trainers.mlx_samples import sampler
from understudy.trainers.plan import Plan, plan_for
from understudy.worker import serve

log = logging.getLogger("understudy.trainers.mlx_lora")


class Training(NamedTuple):
    """Everything one training is made of; the job's options are those that fit the memory."""

    job: Job
    world: World
    model: nn.Module
    loss: Loss
    iterate: Iterate
    train: Split
    valid: Split
    plan: Plan
    fit: Fit
    counts: Counts
    trainable: int
    batches: Batches
    journal: Journal


def run(job: Job, progress: Progress) -> Outcome:
    """Do the job. Raises ConfigError, DatasetError, AssetError or Diverged for what the user can change."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # By default mlx computes what is ready side by side, and with it the logits of all parts of the loss at once.
    os.environ.setdefault("MLX_BFS_MAX_WIDTH", "1")
    if cpu.used():
        # mlx compiles by calling g++ on the CPU: 17 s the first time for 15 % of speed, and g++ may be missing.
        mx.disable_compile()
    job, world = mlx_group.join(job)
    if world.index:
        progress = lambda done, total, note="": None  # noqa: E731
    try:
        with advised(job):
            return Outcome(card=tune(job, world, progress))
    except memory_fit.TooMuch as error:
        return Outcome(too_much=error.args[0])


def tune(job: Job, world: World, progress: Progress) -> AdapterCard:
    """Train, keep the best adapter in `out`, and return the card."""
    limit = mlx_measure.limit_of(job, world).bytes if job.options.memory == "auto" else None
    with mlx_measure.limits(limit):
        training = prepare(job, world, progress)
        try:
            _train(training)
        except Stopped:
            log.info("stopped after iteration %d of %d", training.journal.state.iteration, training.plan.iterations)
        return _finish(training)


def prepare(job: Job, world: World, progress: Progress) -> Training:
    """All that comes before the first step; plan.json says what the data makes of the settings."""
    progress(0, 1, "loading the base")
    config = json.loads((job.base / "config.json").read_text(encoding="utf-8"))
    model, tokenizer = _load(job, config)
    (job.out / "dropped.jsonl").unlink(missing_ok=True)
    limit = job.options.max_seq_length
    splits = (("train", job.train), ("valid", job.valid))
    train_split, valid_split = (
        chat_rows.read_split(name, file, tokenizer, tokenizer.eos_token_ids, limit, job.out) for name, file in splits
    )
    resumed = memory_fit.resumed(job.out)
    world.refuse_unequal("the tokens of train", sum(len(row.tokens) for row in train_split.rows))
    world.refuse_unequal("the batches of an epoch", len(edges_of(train_split, job.options)))
    world.refuse_unequal("the checkpoint to resume from", resumed is not None)
    fit = resumed or memory_fit.decide(
        config,
        job.options,
        train_split.rows,
        mlx_measure.limit_of(job, world),
        cpu.used(),
        world.size,
        job.too_much,
    )
    options = job.options.model_copy(update=fit.changes)
    job = job.model_copy(update={"options": options})
    if fit.base_bits:
        mlx_measure.quantize(model, fit.base_bits)
    mlx_shape.add_lora(model, options, job.seed)
    if fit.checkpointing:
        mlx_measure.checkpoint(model)
    if cpu.used():
        cpu.speed_up(model, fit.eager)
    loss = loss_for(model) if fit.eager else masked_loss
    head = mlx_head.head_of(model) if loss is masked_loss else None
    loss = mlx_head.loss_of(head) if head else loss
    feed = mlx_head.feed(world, head)
    fit = mlx_measure.measure(job, world, model, loss, feed, train_split.rows, fit, progress)
    edges = edges_of(train_split, options)
    plan = plan_for(len(edges), options)
    counts = counts_of(train_split, valid_split, edges, plan)
    config, trainable = mlx_shape.effective(model)
    write_plan(job, config, trainable, tokenizer, train_split, counts, fit)
    log.info("options %s; plan %s; %s", options.model_dump_json(), counts.model_dump_json(), fit.model_dump_json())
    progress(0, plan.iterations, f"{trainable:,} weights, {plan.steps} steps")
    batches = Batches(job.seed, options.batch_tokens, options.gradient_accumulation_steps)
    iterate = feed(batches)
    journal = _journal(job, model, loss, iterate, tokenizer, train_split, valid_split, plan, fit, progress)
    return Training(
        job, world, model, loss, iterate, train_split, valid_split, plan, fit, counts, trainable, batches, journal
    )


def _load(job: Job, config: dict[str, Any]) -> tuple[nn.Module, Any]:
    """The base and its tokenizer. Raises ConfigError when it cannot be tuned on chats."""
    bits = config["quantization"]["bits"] if "quantization" in config else None
    if bits and job.options.base_bits not in ("auto", bits):
        raise ConfigError(
            [
                f"trainer.base_bits: this base is quantized to {bits} bits already, not {job.options.base_bits}; "
                f"set it to auto, or {bits}"
            ]
        )
    model, tokenizer = load(str(job.base), lazy=True)
    tokenizer = for_mlx(tokenizer, job.base)
    if not tokenizer.chat_template:
        raise ConfigError(
            [f"base: {job.base.name} has no chat template, so there is no way to ask it; take an instruct model"]
        )
    if cpu.used():
        model.set_dtype(mx.float32)  # no BLAS helps with bfloat16 there: a tenth of the speed
    return model, tokenizer


def _journal(
    job: Job,
    model: nn.Module,
    loss: Loss,
    iterate: Iterate,
    tokenizer: Any,
    train_split: Split,
    valid_split: Split,
    plan: Plan,
    fit: Fit,
    progress: Progress,
) -> Journal:
    options = job.options
    rate = schedule(options.learning_rate, plan.steps, options.warmup_ratio, options.lr_scheduler)
    optimizer = mlx_measure.optimizer_of(job, rate, fit)
    checkpoints = Checkpoints(job.out / "last" / "resume.safetensors", model, optimizer)
    state = TrainingState(options.tolerance)
    journal = Journal(job.out, model, plan, state, checkpoints, options.patience, progress)
    if valid_split.rows:
        size, limit = options.batch_size, options.max_seq_length
        journal.validate = lambda: evaluate(model, valid_split.rows, size, -1, limit, loss, iterate)
    split, stops = valid_split if valid_split.rows else train_split, set(tokenizer.eos_token_ids)
    length = sample_length(options.sample_tokens, plan.iterations)
    journal.sample = sampler(model, tokenizer, split.rows, split.questions, stops, length)
    return journal


def _train(training: Training) -> None:
    """Go through the steps that are left. Raises Stopped, Diverged, OSError."""
    journal, plan, options, world = training.journal, training.plan, training.job.options, training.world
    training.batches.done = journal.resume()
    if journal.done:
        log.info("resuming from iteration %d of %d", journal.done, plan.iterations)
        journal.progress(journal.done, plan.iterations, f"resumes from checkpoint {journal.done}")
    else:
        journal.progress(0, plan.iterations, "a first look at the valid rows, and what the base answers")
        journal.evaluate(0)
    if journal.finished:
        raise Stopped
    arguments = TrainingArgs(
        batch_size=options.batch_size,
        iters=plan.iterations - journal.done,
        steps_per_report=plan.accumulation,
        steps_per_save=plan.iterations + 1,
        max_seq_length=options.max_seq_length,
        adapter_file=str(training.job.out / "last" / "adapters.safetensors"),
        grad_accumulation_steps=plan.accumulation,
    )
    loss, optimizer = world.loss(training.loss), journal.optimizer
    train(training.model, optimizer, training.train.rows, None, arguments, loss, training.iterate, journal)


def _finish(training: Training) -> AdapterCard:
    """Write the last weights, put the best where mlx-lm looks for them, and return the card."""
    job, journal = training.job, training.journal
    journal.save_weights(job.out / "last" / "adapters.safetensors")
    put_best(job.out)
    steps = int(journal.optimizer.step.item())
    return card_of(job, journal, training.counts, training.fit, training.trainable, steps, training.world.size)


if __name__ == "__main__":
    if os.environ.get("MLX_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")) != "0":
        os.dup2(2, 1)  # only the first process writes: lines of two would be torn apart
    serve(Job, run)
