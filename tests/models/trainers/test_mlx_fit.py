"""Laws of the memory plan where it is used: what it changes, what it leaves alone, and what it refuses."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy import memory, worker
from understudy.errors import AssetError, ConfigError, DatasetError, WorkerFailed
from understudy.records import AdapterCard
from understudy.trainers import merge
from understudy.trainers.chat_rows import Row
from understudy.trainers.lora_job import Fit, Job, LoraOptions, Outcome
from understudy.trainers.lora_trainer import killed_while_measuring
from understudy.trainers.memory_fit import decide, largest
from understudy.trainers.mlx_lora import WORKER, MlxLoraTrainer

Train = Callable[..., AdapterCard]
LLAMA = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}
ROWS = [Row([1] * length, 5) for length in (40, 90, 200, 201, 380, 400, 700, 701, 702, 1000, 1010, 1020)]


def losses(out: Path) -> list[tuple[int, float | None, float | None]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["iteration"], row["train_loss"], row["valid_loss"]) for row in rows]


def fit_for(gigabytes: float, too_much: int | None = None, **options: Any) -> Fit:
    limit = memory.Limit(int(gigabytes * 1e9), "a test")
    return decide(LLAMA, LoraOptions(**options), ROWS, limit, cpu=True, too_much=too_much)


def just_under(card: AdapterCard) -> float:
    """A limit, in GB, that the estimate of this run is over by one byte."""
    assert card.predicted_memory_bytes is not None
    return (card.predicted_memory_bytes + memory.RESERVE_BYTES - 1) / 1e9


def test_the_probe_leaves_a_run_as_it_is_without_one(tuned: Any, train: Train, tmp_path: Path) -> None:
    for name, how in (("with", "auto"), ("without", "off")):
        train(tuned.base, tuned.data, tmp_path / name, memory=how, dropout=0.2)
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    for name in ("adapters.safetensors", "last/resume.safetensors"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_the_estimate_covers_what_is_measured_and_what_training_took(tuned: Any) -> None:
    card = tuned.card
    # So small a model leaves most of its functions to mlx, and with them the memory they save.
    assert card.measured_memory_bytes <= card.predicted_memory_bytes <= 2.5 * card.measured_memory_bytes
    assert card.peak_memory_bytes <= card.predicted_memory_bytes < card.memory_limit_bytes
    assert "fits" in card.memory_plan and not card.checkpointing and card.base_bits is None
    estimated, measured = map(json.loads, (tuned.out / "memory.jsonl").read_text().splitlines())
    assert estimated["measured_memory_bytes"] is None and estimated["predicted_memory_bytes"]
    assert {measured[name] == getattr(card, name) for name in ("memory_plan", "measured_memory_bytes")} == {True}


def test_checkpointing_changes_the_memory_and_no_loss(tuned: Any, train: Train, tmp_path: Path) -> None:
    notes: list[str] = []
    limit = just_under(tuned.card)
    settings = {"rank": 4, "alpha": 12, "learning_rate": 3e-3, "epochs": 2, "max_seq_length": 128}
    trainer = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(settings | {"grad_checkpoint": "on"}))
    splits = (tuned.data / "train.jsonl", tuned.data / "valid.jsonl")
    card = trainer.train(tuned.base, *splits, tmp_path, 5, lambda done, total, note="": notes.append(note))
    assert card.checkpointing and card.base_bits is None and any("; memory " in note for note in notes)
    pairs = zip(losses(tmp_path), losses(tuned.out), strict=True)
    assert all(abs((a[1] or a[2] or 0) - (b[1] or b[2] or 0)) < 1e-4 for a, b in pairs)
    assert card.memory_limit_bytes and card.memory_limit_bytes > limit * 1e9 > card.measured_memory_bytes


@pytest.mark.parametrize("gigabytes", [40, 22, 16, 12, 10, 8])
def test_a_step_counts_as_many_rows_whatever_fits(gigabytes: float) -> None:
    fit = fit_for(gigabytes, batch_size=6, gradient_accumulation_steps=2)
    assert fit.batch_size * fit.gradient_accumulation_steps == 12
    assert fit.predicted_memory_bytes + memory.RESERVE_BYTES <= gigabytes * 1e9
    assert largest(ROWS, fit.batch_size, fit.batch_tokens) <= max(6 * 1025, 4096)


def test_what_was_set_is_not_changed_to_fit() -> None:
    fit = fit_for(12, grad_checkpoint="off")
    assert not fit.checkpointing and fit.base_bits in (8, 4)
    whole = fit_for(10, base_bits=16)
    assert whole.checkpointing and whole.base_bits is None
    assert fit_for(1, memory="off", base_bits=4).base_bits == 4


def test_what_was_measured_to_be_too_much_is_not_tried_again() -> None:
    fit, estimates = fit_for(40), []
    with pytest.raises(ConfigError, match="take a smaller base"):
        for _ in range(50):
            estimates.append(fit.predicted_memory_bytes)
            fit = fit_for(40, too_much=fit.predicted_memory_bytes)
    assert estimates == sorted(set(estimates), reverse=True) and len(estimates) >= 4
    assert "measured to go over the limit" in fit_for(40, too_much=estimates[0]).memory_plan


def test_a_worker_that_the_system_killed_while_measuring_starts_at_the_next_fallback(tmp_path: Path) -> None:
    fit = fit_for(40).model_dump_json()
    (tmp_path / "memory.jsonl").write_text(fit + "\n")
    killed = f"ended badly (killed, most likely); (exit code {-signal.SIGKILL})"
    assert killed_while_measuring(tmp_path, killed) == json.loads(fit)["predicted_memory_bytes"]
    assert killed_while_measuring(tmp_path, "ended badly (exit code -15)") is None
    (tmp_path / "memory.jsonl").write_text(f"{fit}\n{json.dumps(json.loads(fit) | {'measured_memory_bytes': 1})}\n")
    assert killed_while_measuring(tmp_path, killed) is None


def test_a_worker_that_knows_what_was_too_much_takes_a_fallback_and_trains(tuned: Any, tmp_path: Path) -> None:
    job = Job(
        base=tuned.base,
        train=tuned.data / "train.jsonl",
        valid=tuned.data / "valid.jsonl",
        out=tmp_path,
        seed=5,
        options=LoraOptions(epochs=1, rank=4, max_seq_length=128),
        base_digest="x",
        too_much=tuned.card.predicted_memory_bytes,
    )
    card = worker.call(WORKER, job, Outcome, lambda done, total, note="": None).card
    assert card and card.predicted_memory_bytes < tuned.card.predicted_memory_bytes
    assert tuned.card.eager and not card.eager


def test_a_smaller_limit_is_met_and_the_adapter_is_as_it_was_set(tuned: Any, train: Train, tmp_path: Path) -> None:
    slower = train(tuned.base, tuned.data, tmp_path / "slower", memory_limit_gb=just_under(tuned.card), epochs=1)
    assert not slower.eager and slower.memory_plan.endswith("computed by mlx alone, which is slower")
    card = train(tuned.base, tuned.data, tmp_path / "less", memory_limit_gb=just_under(slower), epochs=1)
    assert card.predicted_memory_bytes + memory.RESERVE_BYTES <= card.memory_limit_bytes
    assert " as it is set is over " in card.memory_plan and not card.eager
    again = train(tuned.base, tuned.data, tmp_path / "less", memory_limit_gb=just_under(slower), epochs=1)
    assert again.memory_plan == card.memory_plan  # as it began, whatever is free by now


def test_what_fits_nowhere_is_refused_before_training_with_numbers(tuned: Any, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs 0\.5 GB as it is set.*may take 0\.5 GB \(trainer\.memory_limit_gb\)"):
        train(tuned.base, tuned.data, tmp_path, memory_limit_gb=0.5)
    assert not (tmp_path / "metrics.jsonl").exists() and not (tmp_path / "best").exists()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_base_quantized_in_memory_is_fused_as_the_original(
    bits: int, tuned: Any, train: Train, tmp_path: Path
) -> None:
    card = train(tuned.base, tuned.data, tmp_path / "adapter", base_bits=bits)
    assert card.base_bits == bits and card.trainable_parameters == tuned.card.trainable_parameters
    assert card.best_valid_loss < card.base_valid_loss
    assert card.base_valid_loss != tuned.card.base_valid_loss
    assert card.measured_memory_bytes <= card.predicted_memory_bytes
    (tmp_path / "fused").mkdir()
    trainer = MlxLoraTrainer(MlxLoraTrainer.Options())
    trainer.fuse(tuned.base, tmp_path / "adapter", tmp_path / "fused", lambda done, total, note="": None)
    original, fused = (merge.tensors(merge.shards(folder)[0]) for folder in (tuned.base, tmp_path / "fused"))
    assert {name: (t.dtype, t.shape) for name, t in fused.items()} == {
        name: (t.dtype, t.shape) for name, t in original.items()
    }


def test_a_base_that_is_quantized_already_keeps_its_bits(tuned: Any, train: Train, tmp_path: Path) -> None:
    from mlx_lm import convert

    convert(str(tuned.base), str(tmp_path / "packed"), quantize=True, q_bits=4, q_group_size=64)
    with pytest.raises(ConfigError, match="quantized to 4 bits already, not 8; set it to auto, or 4"):
        train(tmp_path / "packed", tuned.data, tmp_path / "out", base_bits=8)


def test_a_base_that_is_not_there_or_cannot_be_asked_is_named(tuned: Any, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere holds no config\.json"):
        train(tmp_path / "nowhere", tuned.data, tmp_path / "out")
    mute = tmp_path / "mute"
    shutil.copytree(tuned.base, mute)
    settings = json.loads((mute / "tokenizer_config.json").read_text())
    (mute / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "chat_template"}))
    (mute / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="mute has no chat template.*take an instruct model"):
        train(mute, tuned.data, tmp_path / "out")
    for shard in merge.shards(mute):
        shard.unlink()
    with pytest.raises(AssetError, match=r"mute holds no model\*\.safetensors; prepare the base again"):
        train(mute, tuned.data, tmp_path / "out")


def test_a_dataset_that_is_not_there_is_named(tuned: Any, train: Train, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.jsonl does not exist; make the dataset first"):
        train(tuned.base, tmp_path, tmp_path / "out")


def test_a_worker_that_fails_otherwise_is_not_started_again(tuned: Any, train: Train, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tuned.base, broken)
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(WorkerFailed, match="ended badly"):
        train(broken, tuned.data, tmp_path / "out")
    log = (tmp_path / "out" / "train.log").read_text()
    assert log.count("Traceback (most recent call last)") <= 3


def test_a_probe_leaves_the_model_and_the_dice_as_they_were() -> None:
    import mlx.core as mx
    from mlx import nn, optimizers

    from understudy.trainers.mlx_measure import probe

    def loss(model: nn.Module, batch: mx.array, lengths: mx.array) -> tuple[mx.array, mx.array]:
        return (model(batch) ** 2).mean() + mx.random.uniform(), lengths.sum()

    model = nn.Linear(4, 4)
    before, dice = model.weight.tolist(), mx.random.state[0].tolist()
    peak = probe(model, optimizers.AdamW(0.1), loss, (mx.ones((2, 4)), mx.array([[0, 4]])), compiled=False)
    assert peak > 0 and model.weight.tolist() == before and mx.random.state[0].tolist() == dice
