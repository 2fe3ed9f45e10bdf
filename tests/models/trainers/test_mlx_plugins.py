"""Laws of the loss, the schedule and the optimizer."""

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from understudy.trainers import chat_rows
from understudy.trainers.chat_rows import Row
from understudy.trainers.mlx_plugins import Batches, ClippedAdamW, masked_loss, schedule


class Table(nn.Module):
    """A model whose prediction depends on the last token only."""

    def __init__(self) -> None:
        super().__init__()
        mx.random.seed(3)
        self.table = mx.random.normal((50, 50))

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.table[tokens]


def by_hand(table: np.ndarray, rows: list[tuple[list[int], int]]) -> tuple[float, int]:
    losses = [
        np.log(np.exp(table[tokens[i - 1]]).sum()) - table[tokens[i - 1]][tokens[i]]
        for tokens, offset in rows
        for i in range(offset, len(tokens))
    ]
    return float(np.mean(losses)), len(losses)


@pytest.mark.parametrize("padding", [0, 1, 7])
def test_the_loss_counts_the_answer_and_its_end_and_no_padding(padding: int) -> None:
    rows = [([5, 6, 7, 8, 9, 2], 3), ([4, 3, 2], 1)]
    batch = np.zeros((2, 6 + padding), dtype=np.int32)
    for place, (tokens, _) in zip(batch, rows):
        place[: len(tokens)] = tokens
    model = Table()
    lengths = mx.array([(offset, len(tokens)) for tokens, offset in rows])
    loss, count = masked_loss(model, mx.array(batch), lengths)
    expected, tokens = by_hand(np.array(model.table), rows)
    assert loss.item() == pytest.approx(expected, rel=1e-5) and count.item() == tokens == 5


def test_a_batch_without_answers_costs_nothing() -> None:
    loss, count = masked_loss(Table(), mx.zeros((1, 9), dtype=mx.int32), mx.array([[9, 9]]))
    assert (loss.item(), count.item()) == (0, 0)


@pytest.mark.parametrize("lr_scheduler", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_every_step_learns_and_the_rate_ends_near_zero(lr_scheduler: str, steps: int) -> None:
    rate = schedule(0.5, steps, 0.1, lr_scheduler)
    rates = [rate(mx.array(step)).item() for step in range(steps)]
    assert min(rates) > 0 and max(rates) == pytest.approx(0.5, rel=0.2)
    top = rates.index(max(rates))
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert rate(mx.array(steps)).item() == pytest.approx(0, abs=1e-6)


def test_the_first_step_is_one_rate_long_however_large_the_gradient() -> None:
    model = Table()
    before = np.array(model.table)
    optimizer = ClippedAdamW(lambda step: mx.array(0.01), weight_decay=0, max_grad_norm=1.0)
    optimizer.update(model, {"table": mx.full((50, 50), 1e6)})
    assert np.allclose(before - np.array(model.table), 0.01, atol=1e-4)
    assert np.linalg.norm(np.array(optimizer.state["table"]["m"])) == pytest.approx(0.1, rel=1e-3)


def test_the_norm_noted_is_the_one_before_the_limit() -> None:
    model, optimizer = Table(), ClippedAdamW(lambda step: mx.array(0.01), weight_decay=0, max_grad_norm=1.0)
    optimizer.update(model, {"table": mx.full((50, 50), 2.0)})
    assert optimizer.state["gradient_norm"].item() == pytest.approx(100)


def table_gradient(model: Table, batch: tuple[mx.array, ...]) -> tuple[np.ndarray, float]:
    (loss, _), gradient = nn.value_and_grad(model, masked_loss)(model, *batch)
    return np.array(gradient["table"]), loss.item()


@pytest.mark.parametrize("size, accumulation", [(1, 4), (2, 3), (3, 2), (2, 1)])
def test_a_step_of_small_batches_is_that_of_one_large_batch(size: int, accumulation: int) -> None:
    dice = np.random.default_rng(2)
    rows = [Row(dice.integers(1, 50, length).tolist(), 3) for length in (5, 40, 8, 33, 21, 4)]
    batches, model = Batches(7, accumulation=accumulation), Table()
    step = [batch for batch, _ in zip(batches(rows, size, 64, loop=True), range(accumulation))]
    parts = [table_gradient(model, batch) for batch in step]
    gradient, loss = (sum(values) / accumulation for values in zip(*parts))
    rows_seen = [
        Row(tokens[:length], offset)
        for batch, lengths, _ in step
        for tokens, (offset, length) in zip(batch.tolist(), lengths.tolist())
    ]
    whole, whole_loss = table_gradient(model, tuple(mx.array(array) for array in chat_rows.pad(rows_seen)))
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert np.allclose(gradient, whole, atol=1e-6)


def test_validation_batches_carry_no_weight() -> None:
    assert [len(batch) for batch in Batches(7, accumulation=4)([Row([1, 2, 3], 1)] * 3, 2, 64)] == [2, 2]


def test_training_that_resumes_weights_as_it_did() -> None:
    rows = [Row([1] * length, 1) for length in (5, 40, 8, 33, 21, 4, 9)]
    one, other = Batches(7, accumulation=3), Batches(7, accumulation=3)
    other.done = 6
    whole = [part.item() for (*_, part), _ in zip(one(rows, 2, 64, loop=True), range(12))]
    rest = [part.item() for (*_, part), _ in zip(other(rows, 2, 64, loop=True), range(6))]
    assert rest == whole[6:] and sum(whole) == pytest.approx(12)
