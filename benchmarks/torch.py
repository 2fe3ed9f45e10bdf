"""
Torch: both trainers on the real small base, TRL's own example on the same rows, adapters both ways, a killed run.

Everything is taken in one turn after the other on the same rows, so that ratios hold on a busy machine, too.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.training import REAL_BASE, _base, _silent, _write_real, _write_rows
from understudy import registry, worker
from understudy.errors import WorkerFailed
from understudy.sections import located
from understudy.trainers import machine, peft_adapter
from understudy.trainers.mlx_lora import MlxLoraTrainer
from understudy.trainers.peft_lora import PeftLoraTrainer
from understudy.trainers.torch_job import TorchOptions

ROOT = Path(__file__).resolve().parents[1]
ROWS, VALID_ROWS, MEDIAN, BATCH, RATE, RANK, TURNS = 64, 16, 100, 4, 5e-4, 16, 2
OPTIONS: dict[str, Any] = {
    "learning_rate": RATE, "epochs": 1, "batch_size": BATCH, "rank": RANK, "alpha": 2 * RANK, "patience": 99,
    "evaluations_per_epoch": 1, "sample_tokens": 0,
}  # fmt: skip


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about five minutes."""
    if machine.missing(machine.TORCH):
        yield Figure("torch_is_not_installed", 0)
        return
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        yield from _resume(Path(folder) / "tiny")
        if located(REAL_BASE).exists():
            yield from _real(Path(folder))


def _real(home: Path) -> Iterator[Figure]:
    (home / "base").mkdir()
    registry.build("base", "gguf", {"file": REAL_BASE}).prepare([], home / "base", 1, _silent)
    _write_real(home / "train.jsonl", ROWS, MEDIAN, seed=1)
    _write_real(home / "valid.jsonl", VALID_ROWS, MEDIAN, seed=2)
    names = ["mlx", "float32", "bfloat16", *(["trl"] if not machine.missing(["trl"]) else [])]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(TURNS):
        for name, results in runs.items():
            out = home / f"{name}-{turn}"
            results.append(_trl_apart(home, out) if name == "trl" else _ours(name, home, out))
    best = {name: max(run["speed"] for run in results) for name, results in runs.items()}
    for name, speed in best.items():
        yield Figure(f"{name}_tokens_per_second", speed)
    loss = {name: runs[name][0]["loss"] for name in ("mlx", "float32", "bfloat16")}
    yield Figure("mlx_valid_loss", loss["mlx"])
    for name in ("float32", "bfloat16"):
        yield Figure(f"{name}_valid_loss", loss[name])
        yield Figure(f"{name}_valid_loss_off_mlx", abs(loss[name] / loss["mlx"] - 1), "<=", 0.02)
        yield Figure(f"{name}_memory_estimate_over_measured", runs[name][0]["estimate"], ">=", 1.0)
    fast = machine.multiplies_bfloat16()
    yield Figure("bfloat16_speed_over_mlx", best["bfloat16"] / best["mlx"], *((">=", 1.5) if fast else (None, None)))
    if "trl" in best:
        yield Figure("bfloat16_speed_over_trl", best["bfloat16"] / best["trl"], ">=", 1.0)
        yield Figure("trl_valid_loss_minus_ours", runs["trl"][0]["loss"] - loss["bfloat16"])
    began = time.monotonic()
    peft_adapter.to_peft(home / "mlx-0", home / "peft")
    peft_adapter.from_peft(home / "peft", home / "again")
    yield Figure("rank_16_there_and_back_seconds", time.monotonic() - began, "<", 2.0)


def _ours(name: str, home: Path, out: Path) -> dict[str, float]:
    if name == "mlx":
        trainer: Any = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(OPTIONS))
    else:
        trainer = PeftLoraTrainer(TorchOptions.model_validate(OPTIONS | {"dtype": name}))
    card = trainer.train(home / "base", home / "train.jsonl", home / "valid.jsonl", out, 1, _silent)
    estimate = (card.predicted_memory_bytes or math.nan) / (card.measured_memory_bytes or math.nan)
    return {"speed": card.tokens_per_second, "loss": card.best_valid_loss, "estimate": estimate}


def _trl_apart(home: Path, out: Path) -> dict[str, float]:
    """TRL's SFTTrainer in a process of its own, as its LoRA example has it. Raises SystemExit."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.torch", str(home), str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=worker.environment(blas=False) | {"HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        raise SystemExit(f"TRL ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _trl(home: Path, out: Path) -> dict[str, float]:
    """Prompt and completion with the loss on completions, in bfloat16; activations are kept, as ours are."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from understudy.trainers import chat_rows, torch_model
    from understudy.trainers.torch_head import Student
    from understudy.trainers.torch_loop import batch_of

    tokenizer, ends = torch_model.load_tokenizer(home / "base")
    dtype = "bfloat16" if machine.multiplies_bfloat16() else "float32"
    numbers = torch_model.Numbers("cpu", dtype)
    examples = chat_rows.read(home / "train.jsonl")
    chats = [[message.model_dump() for message in example.messages] for example in examples]
    data = Dataset.from_list([{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats])
    config = SFTConfig(
        output_dir=str(out), num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=RATE,
        lr_scheduler_type="cosine", warmup_steps=2, bf16=dtype == "bfloat16", use_cpu=True, max_length=2048, seed=1,
        report_to=[], save_strategy="no", logging_steps=1, disable_tqdm=True, weight_decay=0.01, **_kept(SFTConfig),
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(home / "base", dtype=numbers.type),
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    rows = [chat_rows.encode(example, tokenizer, ends) for example in examples]
    student, nats, count = Student(trainer.model, numbers).eval(), 0.0, 0
    valid = [chat_rows.encode(example, tokenizer, ends) for example in chat_rows.read(home / "valid.jsonl")]
    with torch.no_grad():
        for tokens, lengths in chat_rows.batches(valid, BATCH, None):
            batch = batch_of(tokens, lengths)
            sums = student(batch["tokens"], batch["lengths"])
            nats, count = nats + float(sums[0]), count + int(sums[1])
    return {"speed": sum(len(row.tokens) - row.offset for row in rows) / seconds, "loss": nats / count}


def _kept(config: Any) -> dict[str, bool]:
    """The option by which no activation is computed twice, under its name in this version."""
    names = ("gradient_checkpointing", "activation_checkpointing")
    return {name: False for name in names if name in config.__dataclass_fields__}


def _resume(home: Path) -> Iterator[Figure]:
    """Kill a run with dropout and accumulation twice, let it end, and compare it with one left alone."""
    home.mkdir()
    _base(home)
    _write_rows(home / "train.jsonl", 12, seed=1)
    _write_rows(home / "valid.jsonl", 4, seed=2)
    options = OPTIONS | {"dtype": "float32", "dropout": 0.1, "epochs": 4, "batch_size": 2, "max_seq_length": 512}
    trainer = PeftLoraTrainer(TorchOptions.model_validate(options | {"gradient_accumulation_steps": 2}))

    def train(out: Path, kill_at: float = math.inf) -> None:
        def progress(done: int, total: int, note: str = "") -> None:
            if done >= kill_at:
                for process in list(worker.running):
                    os.kill(process.pid, signal.SIGKILL)

        trainer.train(home / "base", home / "train.jsonl", home / "valid.jsonl", out, 1, progress)

    train(home / "undisturbed")
    kills = 0
    for at in (6, 14):
        try:
            train(home / "killed", at)
        except WorkerFailed:
            kills += 1
    train(home / "killed")
    weights = [(home / name / "adapters.safetensors").read_bytes() for name in ("undisturbed", "killed")]
    yield Figure("kills", kills, ">", 0)
    yield Figure("bytes_that_differ_after_kills", sum(a != b for a, b in zip(*weights)), "=", 0)


if __name__ == "__main__":
    print(json.dumps(_trl(Path(sys.argv[1]), Path(sys.argv[2]))))
