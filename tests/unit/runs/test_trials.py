"""Laws of the trials before a training: what they try, which is taken, and when none can be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.config import Config
from understudy.errors import ConfigError
from understudy.graph import fingerprint_of
from understudy.records import TrialCard
from understudy.runs import trials
from understudy.stages.tune import rising
from understudy.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    config = Config.model_validate(
        {
            "name": "talks",
            "source": {"use": "documents", "path": "."},
            "teacher": {"use": "extractive"},
            "base": "scratch",
            "trainer": {"use": "mlx_lora", "learning_rate": 1e-4, "epochs": 3, "batch_size": 4},
            "tune": {"trials": 3},
        }
    )
    return Workspace(home=tmp_path, config=config)


def rate(workspace: Workspace) -> float:
    return workspace.config.trainer.options["learning_rate"]


def card(learning_rate: float, *losses: float, dropped: str | None = None) -> TrialCard:
    numbered = list(enumerate(losses))
    return TrialCard(
        learning_rate=learning_rate, strength=None, steps=30, valid_losses=numbered, dropped=dropped, seconds=1
    )


def by_rate(losses: dict[float, float | None]) -> Callable[[Workspace], TrialCard]:
    """A stand-in for training: the valid loss each learning rate ends at; None diverges."""

    def run(trial: Workspace) -> TrialCard:
        loss = losses[rate(trial)]
        return card(rate(trial), dropped="nan") if loss is None else card(rate(trial), 3.0, loss)

    return run


def test_trials_differ_in_the_learning_rate_only(workspace: Workspace) -> None:
    workspaces = [trials.trial_of(workspace, 1000, factor) for factor in trials.FACTORS]
    assert [rate(trial) for trial in workspaces] == [1e-4, 3e-4, 9e-4]
    options = [trial.config.trainer.options for trial in workspaces]
    assert len({tuple((k, v) for k, v in one.items() if k != "learning_rate") for one in options}) == 1
    assert {trial.config.seed for trial in workspaces} == {workspace.config.seed}


@pytest.mark.parametrize(("rows", "epochs"), [(10_000, 0.25), (200, 0.6), (8, 3.0)])
def test_a_trial_has_thirty_steps_where_the_training_has(workspace: Workspace, rows: int, epochs: float) -> None:
    options = trials.trial_of(workspace, rows, 1).config.trainer.options
    assert options["epochs"] == epochs
    assert options["evaluations_per_epoch"] * epochs >= trials.EVALUATIONS


def test_the_lowest_valid_loss_is_taken_and_no_trials_are_left(workspace: Workspace) -> None:
    best, cards = trials.with_best_rate(workspace, 100, 10, by_rate({1e-4: 2.5, 3e-4: 2.1, 9e-4: 2.3}))
    assert rate(best) == 3e-4 and len(cards) == 3 and best.config.tune.trials == 0


def test_what_is_as_good_at_less_strength_is_taken() -> None:
    assert trials.choose([card(9e-4, 2.0), card(3e-4, 2.0005), card(1e-4, 2.5)]).learning_rate == 3e-4


@pytest.mark.parametrize("others", [2.9, None])
def test_when_the_lowest_rate_is_best_a_lower_one_is_tried(workspace: Workspace, others: float | None) -> None:
    losses = {3.33333e-05: 2.0, 1e-4: 2.4 if others else None, 3e-4: others, 9e-4: None}
    best, cards = trials.with_best_rate(workspace, 100, 10, by_rate(losses))
    assert rate(best) == 3.33333e-05 and [c.learning_rate for c in cards] == sorted(losses)


def test_when_the_presets_own_rate_wins_it_is_the_run_that_is_made_without_tuning(workspace: Workspace) -> None:
    best, _ = trials.with_best_rate(workspace, 100, 10, by_rate({3.33333e-05: 2.6, 1e-4: 2.1, 3e-4: 2.3, 9e-4: 2.4}))
    assert fingerprint_of(best, "adapter") == fingerprint_of(workspace, "adapter")
    other, _ = trials.with_best_rate(workspace, 100, 10, by_rate({1e-4: 2.5, 3e-4: 2.1, 9e-4: 2.3}))
    assert fingerprint_of(other, "adapter") != fingerprint_of(workspace, "adapter")


def test_when_every_trial_is_dropped_the_error_lists_all_and_says_what_to_do(workspace: Workspace) -> None:
    nothing = dict.fromkeys((3.33333e-05, 1e-4, 3e-4, 9e-4))
    with pytest.raises(
        ConfigError, match=r"no learning rate of 'talks' .*0\.0009: nan.* set trainer.learning_rate lower"
    ):
        trials.with_best_rate(workspace, 100, 10, by_rate(nothing))


def test_without_a_valid_set_no_trial_is_made(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="valid set of 'talks' is empty.*raise split.valid"):
        trials.with_best_rate(workspace, 100, 0, by_rate({}))


@pytest.mark.parametrize(
    ("losses", "risen"),
    [([3.0, 2.5, 2.4], False), ([3.0, 2.4, 2.405], False), ([3.0, 2.4, 2.5], True), ([3.0, 3.2], True), ([3.0], False)],
)
def test_a_loss_that_ends_above_its_lowest_has_risen(losses: list[float], risen: bool) -> None:
    assert (rising(list(enumerate(losses))) is not None) == risen
