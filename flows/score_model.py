"""A model in, the evidence of whether it worked out."""

from prefect import flow
from understudy.tasks import policies, publish
from understudy.tasks.entry import run_name

from understudy import locks
from understudy.graph import Graph
from understudy.records import DatasetRefs, ScoreRefs
from understudy.runs import trials
from understudy.stages import answer, ask_suites, parity
from understudy.workspace import Workspace


@flow(name="score-model", flow_run_name=run_name, persist_result=False)
def score_model(workspace: Workspace, dataset: DatasetRefs) -> ScoreRefs:
    """answer (each candidate in turn) > parity > suites > drift (> judge) > score."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        finished = trials.finished(workspace, dataset)
        model = finished.model()
        graph = Graph(finished.workspace, policies.materialize, finished.known)
        samples = {one.name: graph.get("samples", one.inputs, candidate=one.name) for one in answer.candidates(graph)}
        report = workspace.read(graph.get("parity", parity.inputs(graph, samples)))
        publish.parity(workspace, report)
        for one in answer.quantized_base(graph, report):
            graph.get("samples", one.inputs, candidate=one.name)
        ask_suites.measure(graph)
        return publish.scorecard(graph, model, graph.get("scorecard"))
