"""
Which settings the trials of a training try, and which of them is taken.

The size of weight changes depends on the strength: learning rate x alpha. Published settings differ far more in it than
in anything else, so the learning rate is varied, and alpha keeps its value in the preset.

The valid loss alone decides; how far a trial moves away from the base in general chat is not measured. That is
kept small by choosing the lower rate of equal losses. Forgetting is measured in the scorecard of the run that follows.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

from understudy import registry
from understudy.errors import ConfigError
from understudy.graph import Graph, require
from understudy.records import AssetRef, BaseCard, DatasetRefs, TrialCard
from understudy.sections import PluginSpec
from understudy.workspace import Workspace

log = logging.getLogger("understudy.train")
FACTORS = (1.0, 3.0, 9.0)
BELOW = 1 / 3
"""Factor of one more trial, when the lowest learning rate was the best or all were too high."""

BETTER_BY = 1e-3
"""Nats that a higher learning rate must gain to be chosen: equal quality at less strength forgets less."""

EVALUATIONS = 4
"""Number of evaluations of the valid set in a trial."""


def tuned(graph: Graph) -> tuple[Graph, list[TrialCard]]:
    """The graph with the settings to train with, and the trials that chose them, lowest learning rate first.

    What the preset leaves out is filled in by the size of the base and the rows at hand. Raises ConfigError when no
    trial can be chosen.
    """
    graph = with_suggested(graph)
    if not graph.config.tune.trials:
        return graph, []
    refs = graph.dataset()
    graph.get("base")
    trials: dict[float, AssetRef] = {}

    def run(workspace: Workspace) -> TrialCard:
        ref = Graph(workspace, graph.make, graph.known).get("trial")
        card: TrialCard = workspace.read(ref)
        trials[card.learning_rate] = ref
        return card

    workspace, cards = with_best_rate(graph.workspace, refs.train.rows, refs.valid.rows, run)
    return Graph(
        workspace, graph.make, graph.known | {f"trial/{rate:g}": trials[rate] for rate in sorted(trials)}
    ), cards


def finished(workspace: Workspace, dataset: DatasetRefs) -> Graph:
    """The graph of the model that is on disk. Raises ConfigError when its trials are not on disk."""
    return tuned(Graph(workspace, known=dict(dataset)))[0]


def with_suggested(graph: Graph) -> Graph:
    """The graph with a value for every option that the trainer suggests one for; what the preset sets wins."""
    spec = graph.config.trainer
    suggested = getattr(registry.resolve("trainer", spec.use), "suggested", None)
    if suggested is None:
        return graph
    base: BaseCard = graph.workspace.read(graph.get("base"))
    suggestion = suggested(base.parameters, graph.dataset().train.rows)
    missing = {name: value for name, value in suggestion.options.items() if name not in spec.options}
    if not missing:
        return graph
    if graph.make is not require:  # a run; the others only look for what a run made
        listed = ", ".join(f"{name} {value:g}" for name, value in missing.items())
        log.info("trainer: %s, for %s; what the preset sets wins", listed, suggestion.reason)
    return Graph(_with(graph.workspace, missing, graph.config.tune.trials), graph.make, graph.known)


def with_best_rate(
    workspace: Workspace, train_rows: int, valid_rows: int, run: Callable[[Workspace], TrialCard]
) -> tuple[Workspace, list[TrialCard]]:
    """`workspace` with the best learning rate and no trials left to run, and every trial, lowest first.

    `run` returns the trial of one workspace. Raises ConfigError when none can be chosen.
    """
    name = workspace.config.name
    if not valid_rows:
        raise ConfigError([f"tune: the valid set of {name!r} is empty, so no trial can be chosen; raise split.valid"])
    cards = [run(trial_of(workspace, train_rows, factor)) for factor in FACTORS]
    if choose(cards) in (None, cards[0]):
        cards = [run(trial_of(workspace, train_rows, BELOW)), *cards]
    best = choose(cards)
    if best is None:
        why = "; ".join(f"{card.learning_rate:g}: {card.dropped}" for card in cards)
        raise ConfigError([f"tune: no learning rate of {name!r} can be used ({why}); set trainer.learning_rate lower"])
    return _with(workspace, {"learning_rate": best.learning_rate}), cards


def trial_of(workspace: Workspace, train_rows: int, factor: float) -> Workspace:
    """The preset of one trial: short, at `factor` times the learning rate, the same rows in the same order."""
    spec, tune = workspace.config.trainer, workspace.config.tune
    options = registry.identity("trainer", spec.use, spec.options)["options"]
    if missing := {"learning_rate", "epochs"} - options.keys():
        raise ConfigError([f"tune: the trainer {spec.use!r} has no {' and no '.join(sorted(missing))} to try"])
    rate = options["learning_rate"] if factor == 1 else float(f"{options['learning_rate'] * factor:.6g}")
    rows_per_step = options.get("batch_size", 1) * options.get("gradient_accumulation_steps", 1)
    epochs = min(max(tune.epochs, tune.min_steps * rows_per_step / max(train_rows, 1)), options["epochs"])
    changes = {
        "learning_rate": rate,
        "epochs": float(f"{epochs:.4g}"),
        "evaluations_per_epoch": math.ceil(EVALUATIONS / epochs),
        "patience": 1000,  # a trial runs to its end: whether its loss rises is the question
        "tolerance": 0.0,
        "sample_tokens": 0,
        "save_every": None,
    }
    return _with(workspace, {name: value for name, value in changes.items() if name in options})


def choose(cards: Sequence[TrialCard]) -> TrialCard | None:
    """The lowest last valid loss, and of those as good the lowest learning rate; None when all are dropped."""
    best: tuple[float, TrialCard] | None = None
    for card in sorted(cards, key=lambda card: card.learning_rate):
        loss = card.valid_loss
        if card.dropped is None and loss is not None and (best is None or loss < best[0] - BETTER_BY):
            best = loss, card
    return best[1] if best else None


def _with(workspace: Workspace, options: Mapping[str, float | int | None], trials: int = 0) -> Workspace:
    config = workspace.config
    trainer = PluginSpec(use=config.trainer.use, **config.trainer.options | dict(options))
    tune = config.tune.model_copy(update={"trials": trials})
    return workspace.model_copy(update={"config": config.model_copy(update={"trainer": trainer, "tune": tune})})
