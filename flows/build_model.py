"""Train, valid and test in, a tuned model in several files out."""

from prefect import flow
from understudy.tasks import policies, publish
from understudy.tasks.entry import run_name

from understudy import locks
from understudy.graph import Graph
from understudy.records import DatasetRefs, ModelRefs
from understudy.runs import trials
from understudy.workspace import Workspace


@flow(name="build-model", flow_run_name=run_name, persist_result=False)
def build_model(workspace: Workspace, dataset: DatasetRefs) -> ModelRefs:
    """prepare base > (tune >) train > fuse > convert > (importance >) quantize."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        graph, tried = trials.tuned(Graph(workspace, policies.materialize, dict(dataset)))
        publish.tuning(graph, tried)
        graph.get("adapter")
        publish.losses(graph)
        graph.get("fused")
        return publish.files(graph, graph.model())
