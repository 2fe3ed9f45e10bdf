"""
Levers for quality per hour, each on the demo's own rows and real base: `python -m benchmarks.levers HOME [NAME ...]`.

HOME is where `make demo` worked. Every training sees the same rows as often as the demo does, with the same schedule;
one thing differs. Held-out losses are of valid and test together, per target token, always without the lever's noise
and weights. Two trainings run side by side, so that their seconds compare with each other only. Not part of
`make bench`: about twenty minutes. The table is docs/levers.md.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from understudy import worker

ROWS_SEEN, BLOCKS, RANK, SCALE = 173, 16, 8, 2.0
DEFAULT = {"batch": 1, "rate": 5e-4}
LEVERS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "batch 2": {"batch": 2, "rate": 7e-4},
    "batch 4": {"batch": 4, "rate": 1e-3},
    "batch 8": {"batch": 8, "rate": 1.4e-3},
    "rate x 0.7": {"rate": 3.5e-4},
    "rate x 1.4": {"rate": 7e-4},
    "linear schedule": {"schedule": "linear"},
    "NEFTune 5": {"noise": 5.0},
    "first 20 tokens x 2": {"weight": 2.0},
    "EMA 0.97": {"ema": 0.97},
    "rsLoRA": {"scale": SCALE * RANK / RANK**0.5},
    "DoRA": {"dora": True},
}
FIRST = 20


def main(home: Path, names: list[str]) -> None:
    """Run the levers, all or those named (NAME or NAME@SEED), and print the table."""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: _apart(home, name), names or list(LEVERS)))
    print("| lever | seed | held-out loss | train s |\n|---|--:|--:|--:|")
    for name, result in zip(names or list(LEVERS), results, strict=True):
        lever, _, seed = name.partition("@")
        print(f"| {lever} | {seed or 1} | {result['loss']:.3f} | {result['seconds']:.0f} |")


def _apart(home: Path, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.levers", "--one", str(home), name]
    environment = worker.environment() | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stderr[-3000:]}")
    print(name, done.stdout.strip(), flush=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def one(home: Path, name: str) -> dict[str, float]:  # noqa: PLR0915  # one training from its base to its loss
    """One training, in this process."""
    import mlx.core as mx
    import numpy as np
    from mlx import nn
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load

    from understudy import cpu
    from understudy.trainers import chat_rows
    from understudy.trainers.mlx_plugins import ClippedAdamW, loss_for, schedule

    lever, _, seed = name.partition("@")
    how = DEFAULT | LEVERS[lever]
    mx.disable_compile()
    base = next((home / "models/bases").glob("*/model.safetensors")).parent
    [data] = (home / "data").glob("*/dataset")
    model, tokenizer = load(str(base))
    model.set_dtype(mx.float32)
    files = [["train-augmented.jsonl"], ["valid.jsonl", "test.jsonl"]]
    examples = [[example for file in split for example in chat_rows.read(data / file)] for split in files]
    rows = [[chat_rows.encode(example, tokenizer, tokenizer.eos_token_ids) for example in split] for split in examples]
    mx.random.seed(int(seed or 1))
    model.freeze()
    shape = {"rank": RANK, "scale": how.get("scale", SCALE), "dropout": 0.0}
    linear_to_lora_layers(model, BLOCKS, shape, use_dora=bool(how.get("dora")))
    cpu.speed_up(model)
    plain = loss_for(model)
    loss: Callable[..., Any] = _first_tokens_weighted(how["weight"]) if "weight" in how else plain
    steps = -(-ROWS_SEEN // how["batch"])
    optimizer = ClippedAdamW(schedule(how["rate"], steps, 0.1, how.get("schedule", "cosine")), 0.01, 1.0)
    step = nn.value_and_grad(model, loss)
    mean: Any = None
    embed, began = model.model.embed_tokens, time.perf_counter()
    if "noise" in how:
        model.model.embed_tokens = _Noisy(embed, how["noise"])
    model.train()
    for at, (tokens, lengths) in enumerate(chat_rows.batches(rows[0], how["batch"], int(seed or 1))):
        if at == steps:
            break
        _, gradients = step(model, mx.array(tokens), mx.array(lengths))
        optimizer.update(model, gradients)
        mx.eval(model.trainable_parameters(), optimizer.state)
        if "ema" in how:
            now = model.trainable_parameters()
            mean = now if mean is None else tree_map(lambda m, n: how["ema"] * m + (1 - how["ema"]) * n, mean, now)
            mx.eval(mean)
    seconds = time.perf_counter() - began
    model.model.embed_tokens = embed
    if mean is not None:
        model.update(mean)
    model.eval()
    assert tree_flatten(model.trainable_parameters())
    total = count = 0.0
    for tokens, lengths in chat_rows.batches(rows[1], 4, None):
        value, targets = plain(model, mx.array(tokens), mx.array(lengths))
        total, count = total + value.item() * targets.item(), count + targets.item()
    return {"loss": float(np.float64(total / count)), "seconds": seconds}


def _first_tokens_weighted(weight: float) -> Callable[..., Any]:
    """The mean loss in which the first tokens of an answer count more."""
    import mlx.core as mx
    from mlx import nn

    def loss(model: Any, batch: mx.array, lengths: mx.array) -> tuple[mx.array, mx.array]:
        logits, targets = model(batch[:, :-1]), batch[:, 1:]
        places = mx.arange(1, targets.shape[1] + 1)
        mask = mx.logical_and(places >= lengths[:, 0:1], places < lengths[:, 1:])
        weights = mask * mx.where(places < lengths[:, 0:1] + FIRST, weight, 1.0)
        return (nn.losses.cross_entropy(logits, targets) * weights).sum() / weights.sum(), mask.sum()

    return loss


class _Noisy:
    """Embeddings with the noise of NEFTune: uniform, up to alpha / sqrt(tokens x width)."""

    def __init__(self, embed: Any, alpha: float) -> None:
        self.embed, self.alpha = embed, alpha

    def __call__(self, tokens: Any) -> Any:
        import mlx.core as mx

        states = self.embed(tokens)
        most = self.alpha / (states.shape[1] * states.shape[2]) ** 0.5
        return states + mx.random.uniform(-most, most, states.shape)

    def as_linear(self, states: Any) -> Any:
        return self.embed.as_linear(states)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(one(Path(sys.argv[2]), sys.argv[3])))
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
