"""Predicted against measured peak memory of LoRA on random models of twelve shapes, in float32 on a CPU.

Each shape in a process of its own, as it is the parent's peak that would be measured otherwise.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from understudy import memory, worker

ROOT = Path(__file__).resolve().parents[1]
LOW, HIGH = 0.0, 30.0
BASE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2000,
}
# Name > changes of the model, and of how it is trained
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "long_rows": ({"num_attention_heads": 8}, {"rows": 1, "tokens": 1024}),
    "many_short_rows": ({}, {"rows": 16, "tokens": 64}),
    "large_vocabulary": ({"vocab_size": 24_000}, {}),
    "deep_and_narrow": ({"hidden_size": 128, "num_hidden_layers": 12}, {"rank": 32}),
    "wide": ({"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 12}, {}),
    "checkpointing": ({"num_hidden_layers": 10}, {"checkpointing": True}),
    "top_blocks": ({"num_hidden_layers": 10}, {"layers": 3}),
    "four_bits": ({"hidden_size": 512, "num_hidden_layers": 6}, {"bits": 4}),
    "eight_bits": ({"hidden_size": 512, "num_hidden_layers": 6}, {"bits": 8, "checkpointing": True}),
    "qwen3": ({"model_type": "qwen3", "head_dim": 128, "hidden_size": 384}, {}),
    "gemma3": ({"model_type": "gemma3_text", "head_dim": 128, "num_hidden_layers": 6, "num_key_value_heads": 1}, {}),
}


def figures() -> Iterator[Figure]:
    """One figure per shape, in percent of the measured peak, and the worst two; about a minute."""
    errors = []
    for name in SHAPES:
        guess, peak = compare(name)
        errors.append(100 * (guess / peak - 1))
        yield Figure(f"predicted_over_measured_percent_{name}", errors[-1])
    yield Figure("predicted_over_measured_percent_lowest", min(errors), ">=", LOW)
    yield Figure("predicted_over_measured_percent_highest", max(errors), "<=", HIGH)


def compare(name: str) -> tuple[int, int]:
    """Predicted and measured bytes of one shape."""
    command = [sys.executable, "-m", "benchmarks.memory", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=worker.environment())
    if done.returncode:
        raise SystemExit(f"{name} could not be measured:\n{done.stderr[-2000:]}")
    return tuple(json.loads(done.stdout))


def shape_of(name: str) -> tuple[dict[str, Any], memory.Shape]:
    """The config of a shape, and what is predicted from."""
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": True}
    config |= {"max_position_embeddings": 4096} | BASE | SHAPES[name][0]
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    how = {"rows": 4, "tokens": 256, "rank": 8, "layers": config["num_hidden_layers"], "bits": 32} | SHAPES[name][1]
    rows, tokens = how.pop("rows"), how.pop("tokens")
    shape = memory.Shape(
        memory.model_of(config), **how, batch_tokens=rows * tokens, row_tokens=tokens, number_bytes=4, compiled=False
    )
    return config, shape


def measure(config: dict[str, Any], shape: memory.Shape) -> int:
    """The peak of two steps, in this process."""
    from importlib import import_module

    import mlx.core as mx
    from mlx import nn
    from mlx_lm.tuner.utils import linear_to_lora_layers

    from understudy.trainers import mlx_head, mlx_measure
    from understudy.trainers.mlx_plugins import ClippedAdamW

    os.environ["MLX_BFS_MAX_WIDTH"] = "1"  # as in the trainer's worker
    mx.set_default_device(mx.cpu)
    mx.disable_compile()
    module = import_module(f"mlx_lm.models.{config['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(config))
    if shape.bits < 32:
        nn.quantize(model, memory.GROUP, shape.bits)
    model.freeze()
    linear_to_lora_layers(model, shape.layers, {"rank": shape.rank, "scale": 2.0, "dropout": 0.0})
    mx.eval(model.parameters())
    if shape.checkpointing:
        mlx_measure.checkpoint(model)
    rows, tokens = shape.batch_tokens // shape.row_tokens, shape.row_tokens + 1
    batch, lengths = mx.random.randint(0, config["vocab_size"], (rows, tokens)), mx.array([[8, tokens]] * rows)
    mx.eval(batch, lengths)
    kind = mlx_measure.SettlingAdamW if shape.checkpointing else ClippedAdamW
    optimizer = kind(lambda step: mx.array(1e-4), 0.01, 1)
    head = mlx_head.head_of(model)
    assert head, "every family of these shapes has a plain head"
    [whole] = mlx_head.with_places(lambda: iter([(batch, lengths)]), head.chunk)()
    return mlx_measure.probe(model, optimizer, mlx_head.loss_of(head), whole, compiled=False)


if __name__ == "__main__":
    model, shape = shape_of(sys.argv[1])
    print(json.dumps([memory.predicted(shape), measure(model, shape)]))
