"""The whole way, as a table of contents."""

from pathlib import Path
from typing import Literal

from prefect import flow
from understudy.flows.build_dataset import build_dataset
from understudy.flows.build_model import build_model
from understudy.flows.score_model import score_model
from understudy.tasks import elsewhere, policies
from understudy.tasks.entry import entry, run_name

from understudy import preflight
from understudy.config import Config
from understudy.graph import Graph
from understudy.records import DatasetRefs, ModelRefs, Record, ScoreRefs
from understudy.runs import trials
from understudy.runs.changes import NOTHING, Changes
from understudy.workspace import Workspace


class Outcome(Record):
    """What a run of the pipeline leaves behind; None for the parts that were not wanted."""

    dataset: DatasetRefs
    model: ModelRefs | None = None
    score: ScoreRefs | None = None

    @property
    def summary(self) -> str:
        """How it ended, in a sentence."""
        if self.score:
            return self.score.verdict
        made = f"{self.dataset.train.rows} train rows, {self.dataset.test.rows} held out"
        return f"The model is made, and not scored yet ({made})." if self.model else f"The dataset is made: {made}."


@flow(name="pipeline", flow_run_name=run_name, persist_result=False, validate_parameters=True)
@entry
def pipeline(
    *,
    change: Changes = NOTHING,
    config: Config,
    home: Path,
    only: Literal["dataset", "model", "score"] | None = None,
) -> Outcome:
    """Build the dataset, then the model, then score it; what is fresh is not made again.

    Args:
        change: What people change most, over the preset below; empty means: as it is there.
        config: A whole preset, as in deployments/presets.
        home: The folder of data/ and models/; relative to the checkout.
        only: One part; the parts before it must be done.
    """
    workspace = Workspace(home=home.resolve(), config=config)
    preflight.check(workspace, only)
    elsewhere.check(config, only)
    runner, local = policies.runner(config.runner), policies.local_runner(config.runner)
    with policies.alone(workspace):
        if only in (None, "dataset"):
            dataset = build_dataset.with_options(task_runner=runner)(workspace)
        else:
            dataset = Graph(workspace).on_disk()
        if only == "dataset":
            return Outcome(dataset=dataset)
        if only in (None, "model"):
            model = build_model.with_options(task_runner=local)(workspace, dataset)
        else:
            model = trials.finished(workspace, dataset).model()
        if only == "model":
            return Outcome(dataset=dataset, model=model)
        return Outcome(dataset=dataset, model=model, score=score_model(workspace, dataset))
