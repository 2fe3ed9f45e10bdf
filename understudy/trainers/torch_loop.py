"""
transformers' training loop, fed with the house's rows in the house's order.

Its own are the loop, accumulation, clipping and what accelerate adds to them. Four of its hooks are taken: where
batches come from, what a loss is, what is done with the numbers of a step, and what happens when a card's memory runs
out.
"""

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from understudy.trainers import chat_rows, torch_model
from understudy.trainers.chat_rows import Row
from understudy.trainers.journal import Journal
from understudy.trainers.lora_job import Job
from understudy.trainers.plan import Plan, rate_at
from understudy.trainers.torch_checkpoint import Checkpoints
from understudy.trainers.torch_group import World
from understudy.trainers.torch_head import Student

log = logging.getLogger("understudy.trainers.peft_lora")
Batch = dict[str, Any]


class TorchJournal(Journal):
    """The journal of a training with torch."""

    student: Student
    meter: Any

    def save_weights(self, file: Any) -> None:
        """Write the trained weights in mlx's form."""
        torch_model.save(self.student.model, file)

    def peak_bytes(self) -> int:
        """The most memory that model and steps have held."""
        return int(self.meter.peak())

    def train_mode(self) -> None:
        """Have the model train again."""
        self.student.train()


class Feed(IterableDataset):  # type: ignore[misc]
    """This process's share of each batch, step after step; `step_tokens` are the target tokens of the whole step."""

    def __init__(self, rows: list[Row], job: Job, plan: Plan, world: World) -> None:
        self.rows, self.job, self.plan, self.world = rows, job, plan, world
        self.done, self.step_tokens = 0, 0

    def __iter__(self) -> Iterator[Batch]:
        options = self.job.options
        order = (options.batch_size, self.job.seed, self.done, options.batch_tokens, self.plan.accumulation)
        for step in chat_rows.steps(self.rows, *order):
            self.step_tokens = sum(int((lengths[:, 1] - lengths[:, 0]).sum()) for _, lengths in step)
            for tokens, lengths in step:
                yield batch_of(*self.world.share(tokens, lengths)) | {"step_tokens": self.step_tokens}


class Loop(Trainer):  # type: ignore[misc]
    """The steps that are left of a training; `journal` receives each and says when it is enough."""

    loss_is_scaled_for_ga = True
    """The loss below is a part of the step's: transformers must not divide it by the number of batches."""

    def __init__(self, student: Student, feed: Feed, journal: TorchJournal, checkpoints: Checkpoints) -> None:
        job, optimizer = feed.job, checkpoints.optimizer
        self.feed, self.journal = feed, journal
        self.most_tokens, self.split_at = math.inf, 0
        self._began: float | None = None
        done = feed.done // feed.plan.accumulation
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(job, feed.plan, done + step))
        arguments = _arguments(job, feed.plan, feed.plan.steps - done, student.numbers.device)
        arguments._n_gpu = min(1, arguments.n_gpu)  # several cards in one process: DataParallel would split batches
        super().__init__(model=student, args=arguments, optimizers=(optimizer, schedule))
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader:
        """Batches as they come; a generator of its own leaves torch's random numbers to dropout."""
        return DataLoader(self.feed, batch_size=None, generator=torch.Generator())

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This batch's part of the mean over the target tokens of the whole step.

        Times the number of processes, since torch takes the mean of their gradients, and transformers of their losses.
        """
        nats, _ = model(inputs["tokens"], inputs["lengths"])
        return nats * self.feed.world.size / max(1, inputs["step_tokens"])

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one batch; in halves where it does not fit the card, with the same sum."""
        self._began = self._began or time.monotonic()
        rows, tokens = len(inputs["tokens"]), inputs["tokens"].numel()
        if rows > 1 and tokens > self.most_tokens:
            return self._in_halves(model, inputs, num_items_in_batch)
        before = [None if weight.grad is None else weight.grad.clone() for weight in self._trained()]
        try:
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss
        except torch.OutOfMemoryError:
            if rows == 1 or self.feed.world.size > 1:  # the others would wait for gradients that come twice here
                raise
        for weight, gradient in zip(self._trained(), before, strict=True):
            weight.grad = gradient  # what a broken pass has added to it is gone
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.most_tokens, self.split_at = tokens // 2, self.journal.state.iteration
        log.info("out of memory at %d tokens: batches are halved above %d from here on", tokens, self.most_tokens)
        return self._in_halves(model, inputs, num_items_in_batch)

    def _in_halves(self, model: Any, inputs: Batch, num_items_in_batch: Any) -> torch.Tensor:
        half = -(-len(inputs["tokens"]) // 2)
        parts = [
            inputs | {name: inputs[name][rows] for name in ("tokens", "lengths")}
            for rows in (slice(0, half), slice(half, None))
        ]
        losses = [self.training_step(model, part, num_items_in_batch) for part in parts]
        return losses[0] + losses[1]

    def _trained(self) -> list[Any]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand one step's numbers to the journal, and end the loop when that says so. Raises Diverged, OSError."""
        if "grad_norm" not in logs:  # transformers' summary of the whole
            return
        now, journal = time.monotonic(), self.journal
        seconds = now - (self._began or now)
        iteration = self.feed.done + self.state.global_step * self.feed.plan.accumulation
        tokens = self.feed.step_tokens
        speed = tokens / seconds if seconds else 0.0
        journal.after_step(iteration, logs["loss"], logs["learning_rate"], logs["grad_norm"], tokens, speed)
        self.control.should_training_stop |= journal.finished
        self._began = time.monotonic()


def batch_of(tokens: Any, lengths: Any) -> Batch:
    """A padded batch of numpy's as torch's."""
    return {"tokens": torch.from_numpy(tokens).long(), "lengths": torch.from_numpy(lengths).long()}


def factor(job: Job, plan: Plan, step: int) -> float:
    """The learning rate of a step (from 0) as a share of the highest."""
    return rate_at(step, 1.0, plan.steps, job.options.warmup_ratio, job.options.lr_scheduler)


def optimizer_of(model: Any, job: Job, device: str) -> Any:
    """AdamW as mlx has it, bias correction included; one call for all weights where torch has that."""
    options, weights = job.options, list(torch_model.halves(model).values())
    fused = device in ("cpu", "cuda")
    return torch.optim.AdamW(weights, lr=options.learning_rate, weight_decay=options.weight_decay, fused=fused)


def _arguments(job: Job, plan: Plan, steps: int, device: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(job.out / "last"),
        max_steps=steps,
        gradient_accumulation_steps=plan.accumulation,
        per_device_train_batch_size=1,
        max_grad_norm=job.options.max_grad_norm,
        seed=job.seed,
        use_cpu=device == "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
