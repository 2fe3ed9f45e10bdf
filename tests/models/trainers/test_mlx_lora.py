"""Laws of tuning and merging, on a real base of two layers."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from understudy import store
from understudy.errors import AssetError, ConfigError, DatasetError, WorkerFailed
from understudy.records import AdapterCard
from understudy.trainers import merge
from understudy.trainers.mlx_lora import MlxLoraTrainer, read_back

Train = Callable[..., AdapterCard]
TRAINER = MlxLoraTrainer(MlxLoraTrainer.Options())


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def logits_of(model: Path, adapter: Path | None) -> Any:
    import mlx.core as mx
    from mlx_lm import load

    loaded, _ = load(str(model), adapter_path=str(adapter) if adapter else None)
    return loaded(mx.array([[0, 9, 40, 70, 100, 41]])).astype(mx.float32)


def test_the_loss_falls_and_the_best_weights_are_kept(tuned: Any) -> None:
    rows = metrics(tuned.out)
    valid = {row["iteration"]: row["valid_loss"] for row in rows if row["valid_loss"] is not None}
    assert rows[0]["iteration"] == 0 and rows[0]["valid_loss"] == tuned.card.base_valid_loss
    assert tuned.card.best_valid_loss == valid[tuned.card.best_iteration] < tuned.card.base_valid_loss
    assert tuned.card.best_valid_loss <= min(valid.values()) + 1e-3
    assert [row["step"] for row in rows if row["train_loss"] is not None] == list(range(1, tuned.card.steps + 1))


def test_no_row_is_lost_but_the_one_that_is_too_long(tuned: Any) -> None:
    settings = tuned.card.settings
    assert (settings["train_rows"], settings["train_dropped"], settings["valid_rows"]) == (6, 1, 2)
    assert tuned.card.steps == 2 * math.ceil(6 / settings["batch_size"])
    dropped = [json.loads(line) for line in (tuned.out / "dropped.jsonl").read_text().splitlines()]
    assert [(row["split"], row["row"]) for row in dropped] == [("train", 3)]


def test_the_first_batch_shows_the_end_token_as_a_target_and_the_question_not(tuned: Any) -> None:
    parts = (tuned.out / "first_batch.txt").read_text().split("--- ")[1:]
    assert len(parts) in (2, 4)  # six rows in two batches
    for part in parts:
        prompt, answer = part.split("⟦")
        assert "Question" in prompt and answer.startswith("**So**") and answer.strip().endswith("<|eot_id|>⟧")


def test_the_files_hold_what_was_set(tuned: Any) -> None:
    gains = merge.deltas(tuned.out)
    assert len(gains) == 2 * 7
    assert {(gain.a.shape[1], gain.scale) for gain in gains.values()} == {(4, 3.0)}
    assert tuned.card.trainable_parameters == sum(gain.a.size + gain.b.size for gain in gains.values())
    with pytest.raises(AssetError, match=r"rank: \{8\} is set, \{4\} in the files"):
        read_back(tuned.out, MlxLoraTrainer.Options(rank=8, alpha=24), tuned.card)
    for folder in (tuned.out, tuned.out / "best", tuned.out / "last"):
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["num_layers"], config["lora_parameters"]["dropout"]) == (2, 0)
    assert (tuned.out / "best" / "adapters.safetensors").read_bytes() == (
        tuned.out / "adapters.safetensors"
    ).read_bytes()


def test_before_the_first_step_the_plan_says_what_the_data_makes_of_the_settings(tuned: Any) -> None:
    plan = json.loads((tuned.out / "plan.json").read_text())
    rows = [json.loads(line) for line in (tuned.data / "train.jsonl").read_text().splitlines()]
    assert plan["train_rows"] + plan["train_dropped"] == len(rows)
    assert plan["trainable_parameters"] == 4 * 2 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))
    assert (plan["planned_steps"], plan["planned_epochs"]) == (tuned.card.steps, 2)
    assert 2 <= plan["longest_row"] == tuned.card.longest_row <= 128
    trained = [row["tokens"] for row in metrics(tuned.out) if row["tokens"] is not None]
    assert sum(trained) == 2 * plan["answer_tokens"]


def test_three_prompts_are_answered_after_a_short_training(tuned: Any) -> None:
    samples = [json.loads(line) for line in (tuned.out / "samples.jsonl").read_text().splitlines()]
    looks = [row["iteration"] for row in metrics(tuned.out) if row["valid_loss"] is not None]
    questions = {sample["question"] for sample in samples}
    assert len(questions) == 2  # there are two valid rows
    iterations = sorted({sample["iteration"] for sample in samples})
    assert iterations == looks[-1:]
    assert [(sample["iteration"], sample["question"]) for sample in samples] == [
        (look, question) for look in iterations for question in sorted(questions)
    ]
    assert all(0 <= sample["tokens"] <= 48 for sample in samples)


def test_every_step_notes_its_numbers(tuned: Any) -> None:
    for row in metrics(tuned.out):
        if row["train_loss"] is not None:
            assert row["gradient_norm"] > 0 and row["learning_rate"] > 0 and row["tokens_per_second"] > 0
        assert row["peak_memory_bytes"] > 0 and row["seconds"] >= 0


def test_the_same_seed_gives_the_same_adapter_over_what_a_killed_run_left(
    tuned: Any, train: Train, tmp_path: Path
) -> None:
    for name in ("metrics.jsonl", "adapters.safetensors", "dropped.jsonl"):
        (tmp_path / name).write_bytes((tuned.out / name).read_bytes()[:100])
    train(tuned.base, tuned.data, tmp_path)
    for name in ("adapters.safetensors", "adapter_config.json", "first_batch.txt", "dropped.jsonl"):
        assert (tmp_path / name).read_bytes() == (tuned.out / name).read_bytes(), name
    assert len(metrics(tmp_path)) == len(metrics(tuned.out))
    assert store.folder_digest(tmp_path)[0] == store.folder_digest(tuned.out)[0]


def test_fused_answers_like_base_and_adapter(tuned: Any, tmp_path: Path) -> None:
    import mlx.core as mx

    card = TRAINER.fuse(tuned.base, tuned.out, tmp_path, silent)
    together, fused = logits_of(tuned.base, tuned.out), logits_of(tmp_path, None)
    assert mx.abs(together - fused).max().item() < 1e-3
    assert mx.abs(together - logits_of(tuned.base, None)).max().item() > 1e-2
    assert 0 < card.changed_share < 1
    for file in tuned.base.iterdir():
        if file.suffix != ".safetensors":
            assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_a_quantized_base_is_tuned_and_fused_in_full_precision(tuned: Any, train: Train, tmp_path: Path) -> None:
    import mlx.core as mx
    from mlx_lm import convert

    packed, adapter, out = (tmp_path / name for name in ("packed", "adapter", "fused"))
    convert(str(tuned.base), str(packed), quantize=True, q_bits=8, q_group_size=32)
    out.mkdir()
    trained = train(packed, tuned.data, adapter, epochs=1)
    assert trained.trainable_parameters == tuned.card.trainable_parameters
    card = TRAINER.fuse(packed, adapter, out, silent)
    assert "quantization" not in json.loads((out / "config.json").read_text())
    assert card.parameters == sum(tensor.size for tensor in merge.tensors(out / "model.safetensors").values())
    assert mx.abs(logits_of(packed, adapter) - logits_of(out, None)).max().item() < 5e-2
    assert (out / "tokenizer.json").read_bytes() == (packed / "tokenizer.json").read_bytes()


def test_without_a_valid_set_the_last_weights_are_kept(
    tuned: Any, train: Train, rows_file: Callable[[Path, list[str]], Path], tmp_path: Path
) -> None:
    rows_file(tmp_path / "train.jsonl", ["So it is."] * 3)
    rows_file(tmp_path / "valid.jsonl", [])
    card = train(
        tuned.base,
        tmp_path,
        tmp_path / "out",
        batch_size=1,
        gradient_accumulation_steps=2,
        epochs=1,
        num_layers=1,
        target_modules=["self_attn.q_proj"],
    )
    assert (card.steps, card.iterations, card.best_iteration) == (2, 4, 4)
    assert list(merge.deltas(tmp_path / "out")) == ["model.layers.1.self_attn.q_proj.weight"]
    best, last = (tmp_path / "out" / f"{name}adapters.safetensors" for name in ("", "last/"))
    assert best.read_bytes() == last.read_bytes()


def test_a_loss_that_became_nan_ends_the_run_and_keeps_the_best(tuned: Any, train: Train, tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"at iteration \d+; the best weights .* learning_rate below 1e\+30"):
        train(tuned.base, tuned.data, tmp_path, learning_rate=1e30)
    assert merge.deltas(tmp_path / "best").keys() == merge.deltas(tuned.out).keys()
    assert all(gain.b.sum() == 0 for gain in merge.deltas(tmp_path / "best").values())  # as before the first step


def test_an_empty_train_set_is_a_dataset_error(
    tuned: Any, train: Train, rows_file: Callable[[Path, list[str]], Path], tmp_path: Path
) -> None:
    for split in ("train", "valid"):
        rows_file(tmp_path / f"{split}.jsonl", [])
    with pytest.raises(DatasetError, match="it is empty"):
        train(tuned.base, tmp_path, tmp_path / "out")


def test_rows_all_over_the_limit_are_a_dataset_error_that_names_it(tuned: Any, train: Train, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"each of its 7 rows is over max_seq_length \(32 tokens\)"):
        train(tuned.base, tuned.data, tmp_path, max_seq_length=32, batch_size=3)
    assert len((tmp_path / "dropped.jsonl").read_text().splitlines()) >= 7


def test_a_valid_set_smaller_than_a_batch_is_used_whole(tuned: Any, train: Train, tmp_path: Path) -> None:
    card = train(tuned.base, tuned.data, tmp_path, batch_size=50, epochs=1)
    assert (card.steps, card.settings["valid_rows"]) == (1, 2)
    assert [row["iteration"] for row in metrics(tmp_path) if row["valid_loss"] is not None] == [0, 1]


REFUSED: list[dict[str, Any]] = [
    {"rank": 0},
    {"lora_rank": 8},
    {"scale": 2.0},
    {"batch_size": 0},
    {"alpha": 0},
    {"learning_rate": math.inf},
    {"epochs": math.inf},
    {"memory": True},
]


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        MlxLoraTrainer.Options.model_validate(options)


def test_a_switch_may_be_written_bare_in_a_preset() -> None:
    options = MlxLoraTrainer.Options.model_validate(yaml.safe_load("{memory: off, grad_checkpoint: on}"))
    assert (options.memory, options.grad_checkpoint) == ("off", "on")


def test_a_layer_the_base_lacks_is_named_with_the_choices(tuned: Any, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no 'attention'; choose from .*self_attn\.q_proj"):
        train(tuned.base, tuned.data, tmp_path, target_modules=["attention"])
    with pytest.raises(ConfigError, match="2 blocks, not 3"):
        train(tuned.base, tuned.data, tmp_path, num_layers=3)


def test_an_adapter_is_merged_into_no_other_base(tuned: Any, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(tuned.base, other)
    shard = merge.shards(other)[0]
    with shard.open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x3f")
    out.mkdir()
    with pytest.raises(AssetError, match="another base"):
        TRAINER.fuse(other, tuned.out, out, silent)
    assert list(out.iterdir()) == []
