"""The settings of a run as a configuration file of mlx-lm's own program: `mlx_lm.lora --config lora.yaml`."""

import math
from typing import Any

import yaml

from understudy.records import AdapterCard, RunRecord

HEADER = """\
# What this run trained with, for mlx-lm's own program. From the home folder, the one that holds models/:
#   mlx_lm.lora --config models/{channel}/{run}/lora.yaml
# The result is close, not equal: mlx-lm clips no gradient (max_grad_norm was {max_grad_norm}), counts a padding token
# per row in its loss, keeps the last weights instead of the best, and drops the rows that fill no batch.
"""
SCHEDULES = {"cosine": "cosine_decay", "linear": "linear_schedule"}


def text(record: RunRecord) -> str:
    """The content of lora.yaml; a comment where the trainer has no LoRA settings."""
    card = record.result
    if not {"rank", "alpha", "lr_scheduler"} <= card.settings.keys():
        return f"# The trainer {record.settings['trainer']['use']} has no settings for mlx_lm.lora.\n"
    header = HEADER.format(channel=record.channel, run=record.run, max_grad_norm=card.settings["max_grad_norm"])
    if card.base_bits:
        header += f"# The base was quantized to {card.base_bits} bits in memory: run mlx_lm.convert on it first.\n"
    return header + yaml.safe_dump(_config(record, card), sort_keys=False)


def _config(record: RunRecord, card: AdapterCard) -> dict[str, Any]:
    settings: dict[str, Any] = dict(card.settings)
    lora = {
        "rank": settings["rank"],
        "scale": settings["alpha"] / settings["rank"],
        "dropout": settings["dropout"],
    }
    if settings["target_modules"]:
        lora["keys"] = settings["target_modules"].split(",")
    # mlx-lm refuses a set with fewer rows than a batch; more of the smaller ones make a step.
    size = max(1, min(settings["batch_size"], settings["train_rows"], settings["valid_rows"]))
    accumulation = max(1, settings["batch_size"] * settings["gradient_accumulation_steps"] // size)
    steps, rate = settings["planned_steps"], settings["learning_rate"]
    warmup = min(math.ceil(steps * settings["warmup_ratio"]), steps - 1)
    return {
        "model": record.base.path.rstrip("/"),
        "data": record.dataset.train.path.rpartition("/")[0],
        "adapter_path": f"models/{record.channel}/{record.run}/mlx_lm",
        "train": True,
        "fine_tune_type": "lora",
        "seed": record.seed,
        "num_layers": settings["num_layers"] or -1,
        "lora_parameters": lora,
        "mask_prompt": True,
        "max_seq_length": settings["max_seq_length"],
        "batch_size": size,
        "grad_accumulation_steps": accumulation,
        "iters": steps * accumulation,
        "optimizer": "adamw",
        "optimizer_config": {"adamw": {"weight_decay": settings["weight_decay"], "bias_correction": True}},
        "learning_rate": rate,
        "lr_schedule": {
            "name": SCHEDULES[settings["lr_scheduler"]],
            "warmup": warmup,
            "arguments": [rate, steps - warmup]
            if settings["lr_scheduler"] == "cosine"
            else [rate, 0.0, steps - warmup],
        },
        "val_batches": -1,
        "steps_per_report": accumulation,
        "steps_per_eval": settings["steps_per_evaluation"] * accumulation,
        "save_every": (settings["save_every"] or steps) * accumulation,
        "grad_checkpoint": card.checkpointing,
    }
