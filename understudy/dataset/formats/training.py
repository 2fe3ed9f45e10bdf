"""
The settings of a training in the words of other programs: LLaMA-Factory's train.yaml and axolotl's axolotl.yml.

Both lie beside the rows that they name, and both say which release they were read by. What their runs leave is taken
in with `trainer: {use: external, path: FOLDER}`.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import yaml

from understudy.records import Split

LLAMA_FACTORY, AXOLOTL = "0.9.5", "0.19.0"
"""The releases whose own readers accepted these files: `make bench ONLY=formats`."""
NO_REPOSITORY = "BASE"
"""Stands where the folder of a base must be given that no hub keeps."""


class Training(NamedTuple):
    """What a preset says of a training, and what is suggested for the base where it says nothing."""

    base: str
    """A repository of the hub, or a folder."""
    seed: int
    options: Mapping[str, Any]
    """Those of `LoraOptions` by their names."""

    @property
    def modules(self) -> list[str] | None:
        """The linear layers that are adapted, by their last names; None for all."""
        chosen = self.options.get("target_modules")
        return sorted({PurePath(name.replace(".", "/")).name for name in chosen}) if chosen else None

    def shared(self) -> dict[str, Any]:
        """What both programs call the same."""
        return {
            "gradient_accumulation_steps": self.options["gradient_accumulation_steps"],
            "learning_rate": self.options["learning_rate"],
            "warmup_ratio": self.options["warmup_ratio"],
            "weight_decay": self.options["weight_decay"],
            "max_grad_norm": self.options["max_grad_norm"],
            "seed": self.seed,
            "output_dir": "output",
        }


def llama_factory(name: str, splits: list[Split], training: Training) -> bytes:
    """train.yaml for a folder whose dataset_info.json has `name`_sharegpt_train, to be used from inside it."""
    options = training.options
    settings = {
        "model_name_or_path": training.base,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": ",".join(training.modules or ["all"]),
        "lora_rank": options["rank"],
        "lora_alpha": round(options["alpha"]),
        "lora_dropout": options["dropout"],
        "dataset_dir": ".",
        "dataset": f"{name}_sharegpt_train",
        **({"eval_dataset": f"{name}_sharegpt_valid", "eval_strategy": "epoch"} if "valid" in splits else {}),
        "cutoff_len": options["max_seq_length"],
        "num_train_epochs": float(options["epochs"]),
        "per_device_train_batch_size": options["batch_size"],
        "lr_scheduler_type": options["lr_scheduler"],
        **training.shared(),
        "save_strategy": "epoch",
        "logging_steps": 1,
        "report_to": "none",
        **({"use_rslora": True} if options.get("use_rslora") else {}),
    }
    return _file(f"LLaMA-Factory {LLAMA_FACTORY}", "llamafactory-cli train train.yaml", settings)


def axolotl(splits: list[Split], training: Training) -> bytes:
    """axolotl.yml for a folder with train.jsonl of messages, to be used from inside it."""
    options = training.options
    rows = {"ds_type": "json", "type": "chat_template", "field_messages": "messages"}
    settings = {
        "base_model": training.base,
        "adapter": "lora",
        "lora_r": options["rank"],
        "lora_alpha": round(options["alpha"]),
        "lora_dropout": options["dropout"],
        **({"lora_target_modules": training.modules} if training.modules else {"lora_target_linear": True}),
        "chat_template": "tokenizer_default",
        "datasets": [{"path": "train.jsonl", **rows, "roles_to_train": ["assistant"], "train_on_eos": "turn"}],
        **({"test_datasets": [{"path": "valid.jsonl", **rows, "split": "train"}]} if "valid" in splits else {}),
        "dataset_prepared_path": "prepared",
        "sequence_len": options["max_seq_length"],
        "sample_packing": False,
        "num_epochs": float(options["epochs"]),
        "micro_batch_size": options["batch_size"],
        "optimizer": "adamw_torch",
        "lr_scheduler": options["lr_scheduler"],
        **training.shared(),
        "bf16": "auto",
        "logging_steps": 1,
        **({"peft_use_rslora": True} if options.get("use_rslora") else {}),
    }
    return _file(f"axolotl {AXOLOTL}", "axolotl train axolotl.yml", settings)


def _file(program: str, command: str, settings: Mapping[str, Any]) -> bytes:
    lines = [f"For {program}. In this folder: {command}"]
    if NO_REPOSITORY in settings.values():
        lines.append(f"{NO_REPOSITORY} stands for the folder of the base: of a finished run, one of models/bases.")
    lines += [
        "The chat template is the base's own. To score and export what it leaves beside our own adapters, set",
        "trainer: {use: external, path: ...} in the preset, with the path of the folder `output` in here.",
    ]
    head = "".join(f"# {line}\n" for line in lines)
    return (head + yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)).encode()
