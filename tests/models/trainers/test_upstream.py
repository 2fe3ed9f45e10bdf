"""
What mlx-lm does that our plug-ins replace. A law that fails here was mended upstream: its work-around can go.

Each is shown on the installed mlx-lm itself, by what it does and not by its source.
"""

import inspect
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn, optimizers
from mlx.utils import tree_flatten
from mlx_lm.lora import CONFIG_DEFAULTS
from mlx_lm.tuner import trainer
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.datasets import CacheDataset, ChatDataset

Batch = tuple[mx.array, mx.array]


class Table(nn.Module):
    """A model whose prediction depends on the last token only."""

    def __init__(self) -> None:
        super().__init__()
        mx.random.seed(3)
        self.table = mx.random.normal((50, 50))

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.table[tokens]


class Seen(TrainingCallback):
    """What the callback is told."""

    def __init__(self) -> None:
        self.train: list[dict[str, Any]] = []
        self.valid: list[int] = []

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.train.append(train_info)

    def on_val_loss_report(self, val_info: dict[str, Any]) -> None:
        self.valid.append(val_info["iteration"])


ROWS = [([1 + (i + j) % 49 for j in range(3 + 5 * (i % 6))], 2) for i in range(18)]


@pytest.fixture(autouse=True)
def without_compiling() -> Any:
    """No compiler is needed for these."""
    mx.disable_compile()
    yield
    mx.enable_compile()


def train(tmp_path: Path, iterations: int, accumulation: int = 1, valid: Any = None) -> tuple[Any, Seen]:
    model, seen, optimizer = Table(), Seen(), optimizers.AdamW(0.01)
    arguments = trainer.TrainingArgs(
        batch_size=2,
        iters=iterations,
        val_batches=-1,
        steps_per_report=1,
        steps_per_eval=2,
        grad_accumulation_steps=accumulation,
        adapter_file=str(tmp_path / "adapters.safetensors"),
    )
    trainer.train(model, optimizer, ROWS, valid, arguments, training_callback=seen)
    return optimizer, seen


def batches(rows: Any, size: int, limit: int = 64) -> list[Batch]:
    return list(trainer.iterate_batches(rows, size, limit))


def test_the_loss_counts_one_token_of_padding() -> None:
    _, tokens = trainer.default_loss(Table(), mx.array([[1, 2, 3, 4, 0, 0]]), mx.array([[1, 4]]))
    assert tokens.item() == 4  # 2, 3, 4 and a zero


def test_a_row_without_an_answer_makes_the_loss_no_number() -> None:
    loss, _ = trainer.default_loss(Table(), mx.array([[1, 2, 3]]), mx.array([[5, 3]]))
    assert math.isnan(loss.item())


def test_an_accumulated_step_counts_each_batch_alike_however_few_its_tokens(tmp_path: Path) -> None:
    short, long = (mx.array([[1] + [token] * size]) for token, size in ((2, 2), (3, 20)))
    pair = [(batch, mx.array([[1, batch.shape[1] - 1]])) for batch in (short, long)]
    model = Table()
    row = mx.softmax(model.table[1])
    arguments = trainer.TrainingArgs(
        iters=2, grad_accumulation_steps=2, adapter_file=str(tmp_path / "adapters.safetensors")
    )
    before = model.table[1]
    trainer.train(model, optimizers.SGD(1.0), ROWS, None, arguments, iterate_batches=lambda **_: iter(pair))
    change = before - model.table[1]
    halves = row * (1 / 2 + 1 / 20) / 2 - (mx.arange(50) == 2) / 4 - (mx.arange(50) == 3) / 40
    assert mx.allclose(change, halves, atol=1e-5)  # over tokens it would be a twenty-second for each


def test_chat_rows_are_not_sorted_by_length() -> None:
    class Chats:
        def __getitem__(self, place: int) -> dict[str, Any]:
            return {"messages": [1] * (place * 7 % 50)}

        def __len__(self) -> int:
            return 50

        def process(self, row: dict[str, Any]) -> tuple[list[int], int]:
            return row["messages"], 0

    assert {CacheDataset(Chats()).itemlen(place) for place in range(50)} == {1}  # the number of keys


def test_the_rest_of_an_epoch_is_dropped_and_a_small_set_refused() -> None:
    assert sum(len(batch) for batch, _ in batches(ROWS, 4)) == 16 < len(ROWS)
    with pytest.raises(ValueError, match="at least batch_size"):
        batches(ROWS[:3], 4)


def test_the_order_comes_from_dice_that_everything_shares() -> None:
    def first() -> list[Any]:
        return [batch.tolist() for batch, _ in batches(ROWS, 2)]

    np.random.seed(1)
    one = first()
    np.random.seed(1)
    assert first() == one
    assert first() != one


def test_long_rows_lose_their_end_token(capfd: pytest.CaptureFixture[str]) -> None:
    (batch, lengths), *_ = batches([([7] * 39 + [2], 3)], 1, limit=32)
    assert 2 not in batch.tolist()[0] and lengths.tolist() == [[3, 32]]


def test_adam_does_not_correct_its_bias() -> None:
    for optimizer in (optimizers.Adam, optimizers.AdamW):
        assert inspect.signature(optimizer).parameters["bias_correction"].default is False
    model = Table()
    before = model.table
    optimizers.AdamW(0.01, weight_decay=0).update(model, {"table": mx.ones((50, 50))})
    assert mx.abs(before - model.table).max().item() == pytest.approx(0.0316, rel=1e-2)


def test_nothing_limits_the_gradients() -> None:
    fields = {*trainer.TrainingArgs.__dataclass_fields__, *CONFIG_DEFAULTS}
    assert not [name for name in fields if "clip" in name or "max_norm" in name]


def test_the_defaults_are_not_what_one_means() -> None:
    assert CONFIG_DEFAULTS["lora_parameters"]["scale"] == 20.0
    assert (CONFIG_DEFAULTS["mask_prompt"], CONFIG_DEFAULTS["val_batches"]) == (False, 25)


def test_iterations_behind_the_last_step_teach_nothing(tmp_path: Path) -> None:
    optimizer, seen = train(tmp_path, 5, accumulation=2)
    assert (optimizer.step.item(), seen.train[-1]["iteration"]) == (2, 5)


def test_the_last_weights_are_never_validated(tmp_path: Path) -> None:
    _, seen = train(tmp_path, 6, valid=ROWS)
    assert seen.valid == [0, 1, 3, 5]


def test_what_is_saved_is_the_last_and_not_enough_to_go_on(tmp_path: Path) -> None:
    train(tmp_path, 3, valid=ROWS)
    assert [file.name for file in tmp_path.iterdir()] == ["adapters.safetensors"]
    arrays = mx.load(str(tmp_path / "adapters.safetensors"))
    assert arrays.keys() == dict(tree_flatten(Table().trainable_parameters())).keys()


def test_the_callback_is_told_no_norm_of_the_gradients(tmp_path: Path) -> None:
    _, seen = train(tmp_path, 1)
    assert not [name for name in seen.train[0] if "norm" in name]


def test_a_random_state_that_is_assigned_changes_nothing() -> None:
    state, key = mx.random.state, mx.random.key(5)
    mx.random.seed(5)
    number = mx.random.uniform().item()
    mx.random.seed(6)
    mx.random.state = [key]
    try:
        assert mx.random.uniform().item() != number
    finally:
        mx.random.state = state


def test_chats_are_rendered_without_saying_that_thinking_is_off() -> None:
    calls: list[dict[str, Any]] = []

    class Tokenizer:
        def apply_chat_template(self, messages: Any, **how: Any) -> list[int]:
            calls.append(how)
            return [1, 2]

    ChatDataset([], Tokenizer()).process({"messages": [{"role": "user", "content": "why"}]})
    assert "enable_thinking" not in calls[0]
