"""The worker that tunes a base with LoRA by torch. Started by `understudy.trainers.peft_lora`."""

import json
import logging
from typing import Any, NamedTuple

import torch
from peft.helpers import disable_input_dtype_casting

from understudy.errors import ConfigError, WorkerFailed
from understudy.interfaces import Progress
from understudy.records import AdapterCard
from understudy.trainers import chat_rows, machine, memory_fit, torch_fit, torch_model
from understudy.trainers.chat_rows import Split
from understudy.trainers.journal import TrainingState, sample_length
from understudy.trainers.lora_job import Counts, Fit, Outcome
from understudy.trainers.lora_run import advised, card_of, counts_of, edges_of, put_best, write_plan
from understudy.trainers.plan import Plan, plan_for
from understudy.trainers.torch_checkpoint import Checkpoints
from understudy.trainers.torch_group import World, joined
from understudy.trainers.torch_head import Student
from understudy.trainers.torch_job import TorchJob
from understudy.trainers.torch_loop import Feed, Loop, TorchJournal, batch_of, optimizer_of
from understudy.trainers.torch_model import Numbers
from understudy.trainers.torch_samples import sampler
from understudy.worker import serve

log = logging.getLogger("understudy.trainers.peft_lora")


class Training(NamedTuple):
    """Everything one training is made of; the job's options are those that fit the memory."""

    job: TorchJob
    world: World
    student: Student
    train: Split
    plan: Plan
    fit: Fit
    counts: Counts
    trainable: int
    checkpoints: Checkpoints
    journal: TorchJournal


def run(job: TorchJob, progress: Progress) -> Outcome:
    """Do the job. Raises ConfigError, DatasetError, AssetError or Diverged for what the user can change."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        with advised(job), joined(job) as (share, world):
            training = prepare(share, world, _silent if world.index else progress)
            # PEFT would make a float32 copy of every input of an adapter, which autocast rounds again.
            with disable_input_dtype_casting(training.student.model, active=training.fit.dtype == "bfloat16"):
                memory_plan = _train(training)
            return Outcome(card=_finish(training, memory_plan))
    except memory_fit.TooMuch as error:
        return Outcome(too_much=error.args[0])
    except torch.OutOfMemoryError:
        raise WorkerFailed(
            "the card's memory is too small for a single row; run again with a smaller max_seq_length or "
            "grad_checkpoint=on: training resumes from its checkpoint"
        ) from None


def _silent(done: int, total: int, note: str = "") -> None:
    """Progress of a process that is not the first."""


def prepare(job: TorchJob, world: World, progress: Progress) -> Training:
    """All that comes before the first step; plan.json says what the data makes of the settings."""
    progress(0, 1, "loading the base")
    config = json.loads((job.base / "config.json").read_text(encoding="utf-8"))
    _refuse_quantized(job, config)
    tokenizer, ends = torch_model.load_tokenizer(job.base)
    (job.out / "dropped.jsonl").unlink(missing_ok=True)
    train_split, valid_split = (
        chat_rows.read_split(name, file, tokenizer, ends, job.options.max_seq_length, job.out)
        for name, file in (("train", job.train), ("valid", job.valid))
    )
    edges_of(train_split, job.options)
    fit, numbers = _fit(job, config, train_split, world)
    job = job.model_copy(update={"options": job.options.model_copy(update=fit.changes)})
    meter = torch_fit.Meter(numbers.device)
    base = torch_model.load(job.base, numbers, fit.base_bits)
    student = Student(torch_model.add_lora(base, job.options, job.base, job.seed), numbers)
    if fit.checkpointing:
        torch_fit.checkpoint(base)
    fit = torch_fit.measure(job, student, train_split.rows, fit, meter, world, progress)
    edges = edges_of(train_split, job.options)
    plan = plan_for(len(edges), job.options)
    counts = counts_of(train_split, valid_split, edges, plan)
    shape, trainable = torch_model.effective(student.model)
    write_plan(job, shape, trainable, tokenizer, train_split, counts, fit)
    log.info("options %s; plan %s; %s", job.options.model_dump_json(), counts.model_dump_json(), fit.model_dump_json())
    progress(0, plan.iterations, f"{trainable:,} weights, {plan.steps} steps, {numbers.dtype} on {numbers.device}")
    optimizer = optimizer_of(student.model, job, numbers.device)
    checkpoints = Checkpoints(job.out / "last" / "resume.safetensors", student.model, optimizer)
    state = TrainingState(job.options.tolerance)
    journal = TorchJournal(job.out, plan, state, checkpoints, job.options.patience, progress)
    journal.student, journal.meter = student, meter
    if valid_split.rows:
        journal.validate = lambda: valid_loss(student, valid_split, job, world)
    split = valid_split if valid_split.rows else train_split
    length = sample_length(job.options.sample_tokens, plan.iterations)
    journal.sample = sampler(student, tokenizer, split.rows, split.questions, ends, length)
    return Training(job, world, student, train_split, plan, fit, counts, trainable, checkpoints, journal)


def _refuse_quantized(job: TorchJob, config: dict[str, Any]) -> None:
    """Raise ConfigError for a base whose files mlx quantized: torch reads none of them."""
    if "quantization" in config:
        raise ConfigError(
            [
                f"base: {job.base.name} was quantized by mlx, which torch cannot read; name the model that it was made "
                "of, or take --set trainer.use=mlx_lora"
            ]
        )


def _fit(job: TorchJob, config: dict[str, Any], split: Split, world: World) -> tuple[Fit, Numbers]:
    """What is really trained, and in what: as the run began, where it resumes."""
    numbers = torch_model.numbers(job.options)
    if fit := memory_fit.resumed(job.out):
        return fit, numbers._replace(dtype=fit.dtype or numbers.dtype)
    quantizes = numbers.device == "cuda" and not machine.missing(["bitsandbytes"])
    return torch_fit.decide(config, job, split.rows, numbers, quantizes, world), numbers


@torch.no_grad()  # type: ignore[untyped-decorator]
def valid_loss(student: Student, split: Split, job: TorchJob, world: World) -> float:
    """The mean loss over the target tokens of the whole valid set, of which each process looks at its share."""
    student.eval()
    nats, count, device = 0.0, 0.0, student.numbers.device
    for tokens, lengths in chat_rows.batches(split.rows, job.options.batch_size, None, 0, job.options.batch_tokens):
        batch = batch_of(*world.share(tokens, lengths))
        sums = student(batch["tokens"].to(device), batch["lengths"].to(device))
        nats, count = nats + float(sums[0]), count + int(sums[1])
    nats, count = world.sums(nats, count)
    return nats / max(1, count)


def _train(training: Training) -> str:
    """Go through the steps that are left; the memory plan, with what the card made of it. Raises Diverged, OSError."""
    journal, plan = training.journal, training.plan
    feed = Feed(training.train.rows, training.job, plan, training.world)
    feed.done = journal.resume()
    if journal.done:
        log.info("resuming from iteration %d of %d", journal.done, plan.iterations)
        journal.progress(journal.done, plan.iterations, f"resumes from checkpoint {journal.done}")
    else:
        journal.progress(0, plan.iterations, "a first look at the valid rows, and what the base answers")
        journal.evaluate(0)
    if journal.finished:
        return training.fit.memory_plan
    random = torch.get_rng_state()
    loop = Loop(training.student, feed, journal, training.checkpoints)
    torch.set_rng_state(random)  # transformers seeds them when it is made
    loop.train()
    if journal.state.iteration < plan.iterations:
        log.info("stopped after iteration %d of %d", journal.state.iteration, plan.iterations)
    if loop.most_tokens == float("inf"):
        return training.fit.memory_plan
    return (
        f"{training.fit.memory_plan}; the card's memory ran out after iteration {loop.split_at}, and batches of more "
        f"than {loop.most_tokens} tokens were taken in halves from there on"
    )


def _finish(training: Training, memory_plan: str) -> AdapterCard:
    """Write the last weights, put the best where mlx-lm looks for them, and return the card."""
    job, journal = training.job, training.journal
    journal.save_weights(job.out / "last" / "adapters.safetensors")
    put_best(job.out)
    fit = training.fit.model_copy(update={"memory_plan": memory_plan})
    steps = _steps(training.checkpoints)
    return card_of(job, journal, training.counts, fit, training.trainable, steps, training.world.size)


def _steps(checkpoints: Checkpoints) -> int:
    """The steps that the optimizer made."""
    counted = {int(state["step"]) for state in checkpoints.optimizer.state.values()}
    return max(counted, default=0)


if __name__ == "__main__":
    serve(TorchJob, run)
