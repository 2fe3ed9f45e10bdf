"""The scheduled one: what is new in, and a better model out when there is enough of it."""

from pathlib import Path

from prefect import flow
from understudy.flows.build_dataset import build_dataset
from understudy.flows.build_model import build_model
from understudy.flows.score_model import score_model
from understudy.tasks import elsewhere, policies, publish
from understudy.tasks.entry import entry, run_name

from understudy import preflight
from understudy.config import Config
from understudy.graph import Graph
from understudy.records import Challenge, DatasetRefs, Record
from understudy.runs import trials
from understudy.runs.changes import NOTHING, Changes
from understudy.stages import promote
from understudy.workspace import Workspace


class Synced(Record):
    """What a scheduled run leaves behind; no challenge when it was not worth training again."""

    dataset: DatasetRefs
    forgotten: list[str]
    challenge: Challenge | None

    @property
    def summary(self) -> str:
        """How it ended, in a sentence."""
        if self.challenge is None:
            return "Too little is new to train again."
        what = "is the champion now" if self.challenge.promoted else "does not replace the champion"
        return f"{self.challenge.challenger} {what}: {self.challenge.reasons[0]}"


@flow(name="sync-channel", flow_run_name=run_name, persist_result=False, validate_parameters=True)
@entry
def sync_channel(*, change: Changes = NOTHING, config: Config, home: Path = Path(), retrain: bool = False) -> Synced:
    """Fetch what is new, train again when enough is new, and promote only a better model.

    Args:
        change: What people change most, over the preset below; empty means: as it is there.
        config: The preset of the channel; `sync` says what is enough.
        home: The folder of data/ and models/; relative to the checkout.
        retrain: Train and compare even when little is new, for example after a change of settings.
    """
    workspace = Workspace(home=home.resolve(), config=config)
    preflight.check(workspace)
    elsewhere.check(config)
    runner = policies.runner(config.runner)
    with policies.alone(workspace):
        read = build_dataset.with_options(task_runner=runner)
        dataset = read(workspace)
        forgotten = promote.forget_removed(workspace) if config.sync.forget_removed else []
        if forgotten:
            dataset = read(workspace)
        why = "retrain is set" if retrain else promote.why_train(workspace)
        challenge = None
        if why:
            model = build_model.with_options(task_runner=policies.local_runner(config.runner))(workspace, dataset)
            graph = Graph(trials.finished(workspace, dataset).workspace, policies.materialize, dict(dataset))
            score = score_model(workspace, dataset)
            challenge = promote.decide(graph, model, score)
        publish.champion(workspace, challenge, forgotten)
        return Synced(dataset=dataset, forgotten=forgotten, challenge=challenge)
