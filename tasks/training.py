"""The tasks that train, and what the UI shows of a training while it runs."""

from pathlib import Path

from prefect import task
from understudy.tasks import live, policies, publish

from understudy import registry
from understudy.progress import track
from understudy.records import AssetRef, DatasetRefs, TrialCard
from understudy.runs import run_record, trials
from understudy.stages import train as training
from understudy.stages import tune as tuning
from understudy.workspace import Workspace


@task(name="train", **policies.ASSET)
def train(
    workspace: Workspace, made_from: str, run: str, base: AssetRef, dataset: DatasetRefs, tried: list[TrialCard]
) -> AssetRef:
    """The adapter, tuned on the train side, chosen on the valid side; then the record of how."""
    if found := policies.ready("adapter", workspace, made_from, {"run": run}):
        return found
    around = run_record.surroundings()

    def make(out: Path) -> training.AdapterCard:
        with policies.only_training(), track("train") as progress:
            return training.train(
                workspace.plugin("trainer"),
                workspace.file(base),
                workspace.file(dataset.train),
                workspace.file(dataset.valid),
                out,
                workspace.config.seed,
                live.LiveLosses(workspace, out, progress),
            )

    adapter = workspace.build_folder("adapter", make, made_from, run=run)
    found = run_record.written(workspace, around, run, base, dataset, tried, adapter)
    workspace.save("run", [found], made_from, run=run)
    return adapter


@task(name="tune", **policies.ASSET)
def tune(
    workspace: Workspace, made_from: str, trial: str, base: AssetRef, dataset: DatasetRefs, learning_rate: float
) -> AssetRef:
    """The losses of one short training; made where the real one will be, from the same rows in the same order."""

    def make(out: Path) -> TrialCard:
        with policies.only_training(), track(f"tune {learning_rate:g}") as progress:
            return tuning.trial(
                workspace.plugin("trainer"),
                learning_rate,
                _strength(workspace),
                workspace.file(base),
                workspace.file(dataset.train),
                workspace.file(dataset.valid),
                out,
                workspace.config.seed,
                progress,
            )

    return workspace.build_folder("trial", make, made_from, trial=trial)


def tuned(workspace: Workspace, base: AssetRef, dataset: DatasetRefs) -> tuple[Workspace, list[TrialCard]]:
    """`workspace` with the settings to train with, and the trials that chose them; as it is where none are asked."""
    if not workspace.config.tune.trials:
        return workspace, []
    inputs = [base, dataset.train, dataset.valid]

    def ask(trial: Workspace) -> TrialCard:
        keys = trials.keys(trial.fingerprint("trial", inputs))
        rate = trial.config.trainer.options["learning_rate"]
        ref = policies.made(tune, "trial", trial, inputs, keys=keys, base=base, dataset=dataset, learning_rate=rate)
        return trial.read(ref)

    chosen, cards = trials.settled(workspace, dataset.train.rows, dataset.valid.rows, ask)
    publish.tuning(workspace, cards, chosen.config.trainer.options["learning_rate"])
    return chosen, cards


def _strength(workspace: Workspace) -> float | None:
    spec = workspace.config.trainer
    known = registry.identity("trainer", spec.use, spec.options)["options"]
    return float(f"{known['learning_rate'] * known['alpha']:.6g}") if "alpha" in known else None
