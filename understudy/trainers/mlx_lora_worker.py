"""
The worker that tunes a base with LoRA. Started by `understudy.trainers.mlx_lora`.

Job: {base, train, valid, out, seed, options, adapter_config}.
Result: the numbers of the adapter's card, or {problem: {kind, message}} for what the user can change.
"""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, train
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load

from understudy.errors import ConfigError, DatasetError
from understudy.interfaces import Report
from understudy.trainers import mlx_rows
from understudy.trainers.mlx_plugins import Batches, ClippedAdamW, Diverged, Journal, Stopped, schedule, strict_loss
from understudy.worker import serve


class Side(NamedTuple):
    """Train or valid: the rows that are short enough, and how many are not."""

    rows: list[mlx_rows.Row]
    dropped: int


class Plan(NamedTuple):
    """How long to train, counted in what mlx-lm counts."""

    updates: int
    accumulation: int
    iterations_per_evaluation: int

    @property
    def iterations(self) -> int:
        """A multiple of the accumulation: mlx-lm never applies the gradients of a rest."""
        return self.updates * self.accumulation


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Do the job; what the user can mend comes back as a result, the rest as a traceback in the log."""
    if mx.default_device().type == mx.DeviceType.cpu:
        # mlx compiles by calling g++ on the CPU: 17 s the first time for 15 % of speed, and g++ may be missing.
        mx.disable_compile()
    try:
        return tune(job, report)
    except DatasetError as error:
        return {"problem": {"kind": "dataset", "message": str(error)}}
    except ConfigError as error:
        return {"problem": {"kind": "config", "message": "\n".join(error.problems)}}
    except Diverged as error:
        rate = job["options"]["learning_rate"]
        return {"problem": {"kind": "diverged", "message": f"{error}; take a learning_rate below {rate:g}"}}


def tune(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Train, keep the best adapter in `out`, and return the card's numbers."""
    began, options, out = time.monotonic(), job["options"], Path(job["out"])
    model, tokenizer = load(job["base"], lazy=True)
    if mx.default_device().type == mx.DeviceType.cpu:
        model.set_dtype(mx.float32)  # no BLAS helps with bfloat16 there: a tenth of the speed
    train_side, valid_side = (_side(name, job, tokenizer) for name in ("train", "valid"))
    if not train_side.rows:
        raise DatasetError("train.jsonl has no row that can be trained on: it is empty, or every row is too long")
    trainable = add_lora(model, job["adapter_config"], job["seed"])
    plan, batches = plan_for(len(train_side.rows), options), Batches(job["seed"])
    keep = {"patience": options["patience"], "tolerance": options["tolerance"]}
    journal = Journal(model, out, plan.iterations, plan.accumulation, report, **keep)
    first_batch = next(mlx_rows.batches(train_side.rows, options["batch_size"], job["seed"]))
    (out / "first_batch.txt").write_text(mlx_rows.show(*first_batch, tokenizer), encoding="utf-8")
    _train(model, (train_side.rows, valid_side.rows), batches, plan, options, journal)
    first, best = _finish(model, valid_side.rows, batches, options, journal)
    return {
        "trainable_parameters": trainable,
        "updates": journal.iteration // plan.accumulation,
        "best_iteration": journal.best_iteration,
        "base_valid_loss": first,
        "best_valid_loss": best,
        "tokens_per_second": journal.answer_tokens / journal.seconds,
        "peak_memory_bytes": mx.get_peak_memory(),
        "seconds": time.monotonic() - began,
        "iterations": journal.iteration,
        "train_rows": len(train_side.rows),
        "valid_rows": len(valid_side.rows),
        "train_dropped": train_side.dropped,
        "valid_dropped": valid_side.dropped,
        "answer_tokens": sum(len(row.tokens) - row.offset for row in train_side.rows),
    }


def plan_for(rows: int, options: dict[str, Any]) -> Plan:
    """Epochs as updates, rounded to whole ones; at least one."""
    per_epoch, accumulation = math.ceil(rows / options["batch_size"]), options["accumulation"]
    updates = max(1, math.ceil(options["epochs"] * per_epoch / accumulation))
    return Plan(updates, accumulation, max(1, per_epoch // options["evaluations_per_epoch"]))


def add_lora(model: nn.Module, config: dict[str, Any], seed: int) -> int:
    """Freeze `model`, put LoRA on its linear layers, and return the number of weights that are trained."""
    modules = model.layers[-1].named_modules()
    known = sorted(name for name, module in modules if isinstance(module, nn.Linear | nn.QuantizedLinear))
    unknown = sorted(set(config["lora_parameters"].get("keys", ())) - set(known))
    if unknown:
        raise ConfigError([f"trainer.linears: this base has no {n!r}; choose from {', '.join(known)}" for n in unknown])
    mx.random.seed(seed)
    model.freeze()
    linear_to_lora_layers(model, config["num_layers"], config["lora_parameters"])
    return sum(weight.size for _, weight in tree_flatten(model.trainable_parameters()))


def _side(name: str, job: dict[str, Any], tokenizer: Any) -> Side:
    limit = job["options"]["max_seq_length"]
    rows = [mlx_rows.encode(example, tokenizer, tokenizer.eos_token_ids) for example in mlx_rows.read(Path(job[name]))]
    kept, dropped = mlx_rows.within(rows, limit)
    if dropped:
        mlx_rows.list_dropped(Path(job["out"]) / "dropped.jsonl", name, rows, dropped, limit)
    return Side(kept, len(dropped))


def _train(
    model: nn.Module,
    sides: tuple[list[mlx_rows.Row], list[mlx_rows.Row]],
    batches: Batches,
    plan: Plan,
    options: dict[str, Any],
    journal: Journal,
) -> None:
    rate = schedule(options["learning_rate"], plan.updates, options["warmup"], options["decay"])
    optimizer = ClippedAdamW(rate, options["weight_decay"], options["clip"])
    last = journal.out / "last.safetensors"
    arguments = TrainingArgs(
        batch_size=options["batch_size"],
        iters=plan.iterations,
        val_batches=-1,
        steps_per_report=plan.accumulation,
        steps_per_eval=plan.iterations_per_evaluation,
        steps_per_save=plan.iterations + 1,
        max_seq_length=options["max_seq_length"],
        adapter_file=str(last),
        grad_accumulation_steps=plan.accumulation,
    )
    try:
        train(model, optimizer, *sides, arguments, strict_loss, batches, journal)
    except Stopped:
        journal.save(last)


def _finish(
    model: nn.Module, valid: list[mlx_rows.Row], batches: Batches, options: dict[str, Any], journal: Journal
) -> tuple[float, float]:
    """The first and the best loss, the last weights looked at, too. Without a valid set: the train losses."""
    if not valid:
        journal.best_iteration = journal.iteration
        journal.save(journal.out / "adapters.safetensors")
        return journal.train_losses[0], journal.train_losses[-1]
    if journal.worse < options["patience"]:
        last = evaluate(model, valid, options["batch_size"], -1, options["max_seq_length"], strict_loss, batches)
        journal.validated(journal.iteration, last)
    assert journal.first is not None
    return journal.first, journal.best


if __name__ == "__main__":
    serve(run)
