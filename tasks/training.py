"""The task that trains, and what the UI shows of it while it runs."""

from pathlib import Path

from prefect import task

from tasks import policies
from understudy.progress import track
from understudy.records import AssetRef
from understudy.stages import train as training
from understudy.workspace import Workspace


@task(name="train", **policies.ASSET)
def train(workspace: Workspace, made_from: str, run: str, base: AssetRef, train: AssetRef, valid: AssetRef) -> AssetRef:
    """The adapter, tuned on the train side, chosen on the valid side."""

    def make(out: Path) -> training.AdapterCard:
        with policies.only_training(), track("train") as report:
            return training.train(
                workspace.plugin("trainer"),
                workspace.file(base),
                workspace.file(train),
                workspace.file(valid),
                out,
                workspace.config.seed,
                report,
            )

    return workspace.build_folder("adapter", make, made_from, run=run)
