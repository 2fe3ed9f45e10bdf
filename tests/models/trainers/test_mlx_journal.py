"""Laws of what is kept between two steps."""

import json
from pathlib import Path

import mlx.core as mx
import pytest
from mlx import nn

from understudy.errors import Diverged
from understudy.trainers.journal import sample_length
from understudy.trainers.mlx_checkpoint import Checkpoints, trainable
from understudy.trainers.mlx_journal import Journal, Lines, TrainingState
from understudy.trainers.mlx_plugins import ClippedAdamW
from understudy.trainers.plan import Plan


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def journal(out: Path, tolerance: float = 0.0) -> Journal:
    """One over a model of a single matrix."""
    out.mkdir(exist_ok=True)
    model = nn.Linear(3, 3, bias=False)
    optimizer = ClippedAdamW(lambda step: mx.array(0.1), 0.0, 1.0)
    checkpoints = Checkpoints(out / "last" / "resume.safetensors", model, optimizer)
    return Journal(out, model, Plan(10, 1, 1, 10), TrainingState(tolerance), checkpoints, 9, silent)


def best_of(out: Path, losses: list[float], tolerance: float) -> tuple[int, int]:
    this = journal(out, tolerance)
    for iteration, loss in enumerate(losses):
        this.model.weight = mx.full((3, 3), float(iteration))
        this.validate = lambda loss=loss: loss
        this.evaluate(iteration)
    best = this.state.best_iteration
    assert this.state.best == losses[best]
    assert mx.load(str(out / "best" / "adapters.safetensors"))["weight"][0, 0].item() == best
    return best, this.state.worse


def test_the_lowest_loss_is_kept_and_a_later_one_only_within_the_tolerance(tmp_path: Path) -> None:
    losses = [5.0, 4.0, 4.005, 4.2, 4.009]
    assert best_of(tmp_path / "a", losses, 0.0) == (1, 3)
    assert best_of(tmp_path / "b", losses, 0.01) == (4, 3)
    assert best_of(tmp_path / "c", losses[:4], 0.01) == (2, 2)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_nan_is_never_kept(tmp_path: Path, loss: float) -> None:
    with pytest.raises(Diverged):
        best_of(tmp_path, [loss], 0.0)
    assert not (tmp_path / "best").exists() and not (tmp_path / "metrics.jsonl").exists()


def test_rows_after_the_checkpoint_and_half_a_row_are_forgotten(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "metrics.jsonl")
    lines.add(*({"iteration": i, "text": "ü\u2028"} for i in (0, 2, 4, 4, 6)))
    with lines.file.open("a") as file:
        file.write('{"iteration": 4, "te')
    assert [row["iteration"] for row in lines.until(4)] == [0, 2, 4, 4]
    assert [json.loads(line)["iteration"] for line in lines.file.read_bytes().splitlines()] == [0, 2, 4, 4]
    assert lines.until(-1) == [] and lines.file.read_bytes() == b""


def test_progress_read_from_rows_is_the_progress_that_wrote_them(tmp_path: Path) -> None:
    best_of(tmp_path, [5.0, 4.0, 4.005, 4.2, 4.009], 0.01)
    other = journal(tmp_path, 0.01)
    assert other.resume() == 4
    state = other.state
    assert (state.first, state.lowest, state.best, state.best_iteration) == (5.0, 4.0, 4.009, 4)
    assert mx.array_equal(other.model.weight, mx.full((3, 3), 4.0))


def test_a_checkpoint_brings_back_the_dice_and_the_optimizer(tmp_path: Path) -> None:
    one, other = journal(tmp_path), journal(tmp_path)
    gradients = {"weight": mx.ones((3, 3))}
    one.checkpoints.optimizer.update(one.model, gradients)
    mx.random.seed(8)
    mx.random.uniform()
    one.checkpoints.save(3)
    dice = mx.random.uniform(shape=(4,)).tolist()
    one.checkpoints.optimizer.update(one.model, gradients)
    assert other.checkpoints.restore() == 3
    assert mx.random.uniform(shape=(4,)).tolist() == dice
    other.checkpoints.optimizer.update(other.model, gradients)
    assert mx.array_equal(trainable(one.model)["weight"], trainable(other.model)["weight"])


def test_prompts_are_answered_once_in_400_iterations_and_at_the_end_whatever_time_passed(tmp_path: Path) -> None:
    def answered(iterations: int, every: int) -> list[int]:
        this = journal(tmp_path / str(iterations))
        this.plan, this.patience = Plan(iterations, 1, every, 100), 99
        this.sample = lambda: [{"answer": "so"}]
        for iteration in [*range(0, iterations, every), iterations]:
            this.evaluate(iteration)
        lines = (tmp_path / str(iterations) / "samples.jsonl").read_text().splitlines()
        return [json.loads(line)["iteration"] for line in lines]

    assert answered(1000, 90) == [0, 450, 810, 1000]
    assert answered(300, 90) == [300]
    assert [sample_length(48, count) for count in (10, 96, 240, 9000)] == [12, 12, 30, 48]
    assert sample_length(0, 96) == 0 and sample_length(4, 96) == 4


def test_checkpoints_between_evaluations_cost_little_of_the_time(tmp_path: Path) -> None:
    clock = Clock()
    this = Checkpoints(tmp_path / "resume.safetensors", nn.Linear(2, 2), ClippedAdamW(lambda u: u, 0, 1), clock)
    this._cost, clock.now = 2.0, 999.0
    assert not this.due()
    clock.now = 1001.0
    assert this.due()
