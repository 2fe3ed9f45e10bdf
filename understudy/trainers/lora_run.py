"""What the workers of both trainers do around their steps: counts, the files of a run, its card, and its errors."""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from understudy.errors import AssetError, DatasetError, Diverged, WorkerFailed
from understudy.records import AdapterCard
from understudy.trainers import chat_rows
from understudy.trainers.chat_rows import Split
from understudy.trainers.journal import Journal
from understudy.trainers.lora_job import PROCESSES, Counts, Fit, Job, LoraOptions
from understudy.trainers.plan import Plan

SomeJob = TypeVar("SomeJob", bound=Job)


def for_process(job: SomeJob, index: int) -> SomeJob:
    """The job as process `index` of several does it: all but the first in a folder of their own, without samples."""
    if index == 0:
        return job
    out = job.out / PROCESSES / str(index)
    shutil.rmtree(out, ignore_errors=True)
    (out / "last").mkdir(parents=True)
    for name in ("last/resume.safetensors", "metrics.jsonl", "memory.jsonl"):
        if (job.out / name).exists():
            shutil.copyfile(job.out / name, out / name)
    options = job.options.model_copy(update={"sample_tokens": 0})
    return job.model_copy(update={"out": out, "options": options})


@contextmanager
def advised(job: Job) -> Iterator[None]:
    """Let what ends a training say what to do: a loss that became NaN, and a full disk."""
    try:
        yield
    except Diverged as error:
        raise Diverged(
            f"{error}; the best weights before that are kept in {job.out}/best. Take a learning_rate below "
            f"{job.options.learning_rate:g} (a third of it, to begin with), a larger warmup_ratio, or a smaller alpha"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise AssetError(
            f"no space left for {job.out}; free some, then run again: training resumes from its checkpoint"
        ) from None


def edges_of(split: Split, options: LoraOptions) -> list[int]:
    """Where the batches of an epoch end. Raises DatasetError when there is none."""
    if split.rows:
        return chat_rows.edges(split.rows, options.batch_size, options.batch_tokens)
    if split.dropped:
        why = f"each of its {split.dropped} rows is over max_seq_length ({options.max_seq_length} tokens)"
        raise DatasetError(
            f"train.jsonl has no row to train on: {why}; see dropped.jsonl for their lengths and raise it"
        )
    raise DatasetError("train.jsonl has no row to train on: it is empty; let more pairs through the gates")


def counts_of(train_split: Split, valid_split: Split, edges: list[int], plan: Plan) -> Counts:
    """What the data makes of the settings."""
    return Counts(
        train_rows=len(train_split.rows),
        train_dropped=train_split.dropped,
        valid_rows=len(valid_split.rows),
        valid_dropped=valid_split.dropped,
        answer_tokens=sum(len(row.tokens) - row.offset for row in train_split.rows),
        longest_row=max(len(row.tokens) for row in train_split.rows),
        padding_share=round(chat_rows.padding_share(train_split.rows, edges), 6),
        planned_steps=plan.steps,
        iterations_per_epoch=plan.iterations_per_epoch,
        steps_per_evaluation=plan.steps_per_evaluation,
        planned_epochs=round(plan.iterations / plan.iterations_per_epoch, 3),
    )


def write_plan(
    job: Job, config: Mapping[str, Any], trainable: int, tokenizer: Any, split: Split, counts: Counts, fit: Fit
) -> None:
    """Write the adapter's config, the plan and the first batch as the model sees it.

    Nothing of it was measured: the digest of the adapter's folder counts these files.
    """
    config = {**config, "base": job.base_digest}
    plan = counts.model_dump() | fit.changes | {"base_bits": fit.base_bits, "trainable_parameters": trainable}
    folders = ["best", "last", *(["checkpoints"] if job.options.save_every else [])]
    contents = {f"{folder}/adapter_config": config for folder in folders} | {"plan": plan}
    for name, content in contents.items():
        file = job.out / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    options = job.options
    order = (options.batch_tokens, options.gradient_accumulation_steps)
    first = next(chat_rows.batches(split.rows, options.batch_size, job.seed, 0, *order))
    (job.out / "first_batch.txt").write_text(chat_rows.show(*first, tokenizer), encoding="utf-8")


def put_best(out: Path) -> None:
    """Put the best weights where mlx-lm looks for them."""
    for name in ("adapters.safetensors", "adapter_config.json"):
        shutil.copyfile(out / "best" / name, out / name)


def card_of(
    job: Job, journal: Journal, counts: Counts, fit: Fit, trainable: int, steps: int, world_size: int = 1
) -> AdapterCard:
    """The card of a training that ended. Raises WorkerFailed when it made other steps than its journal says."""
    plan, state, seconds = journal.plan, journal.state, journal.clock() - journal.started
    if steps != state.iteration // plan.accumulation:
        raise WorkerFailed(f"{steps} optimizer steps were made in {state.iteration} iterations: another version?")
    losses = (state.first, state.best)
    if not counts.valid_rows:
        state.best_iteration, losses = state.iteration, (state.first_train, state.last_train)
    settings = job.options.model_dump()
    settings |= {name: ",".join(value) for name, value in settings.items() if isinstance(value, list)}
    settings |= counts.model_dump(exclude={"longest_row", "padding_share"})
    return AdapterCard(
        trainable_parameters=trainable,
        steps=steps,
        iterations=state.iteration,
        epochs=state.iteration / plan.iterations_per_epoch,
        stopped_early=state.iteration < plan.iterations,
        best_iteration=state.best_iteration,
        base_valid_loss=losses[0] if losses[0] is not None else float("nan"),
        best_valid_loss=losses[1],
        longest_row=counts.longest_row,
        padding_share=counts.padding_share,
        tokens_per_second=state.answer_tokens / state.training_seconds,
        overhead_share=(journal.own_seconds + journal.sample_seconds) / seconds,
        peak_memory_bytes=journal.peak_bytes(),
        seconds=seconds,
        world_size=world_size,
        settings=settings | {"samples_share": journal.sample_seconds / seconds},
        **fit.model_dump(exclude=set(fit.changes)),
    )
