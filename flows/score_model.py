"""A model in, the evidence of whether it worked out."""

from prefect import flow
from prefect.utilities.annotations import quote
from understudy.tasks import candidates, judging, parity, policies, publish, scoring, suites

from understudy import locks
from understudy.records import DatasetRefs, ModelRefs, ScoreRefs
from understudy.workspace import Workspace


@flow(name="score-model", flow_run_name="score-{workspace.config.name}", persist_result=False)
def score_model(workspace: Workspace, dataset: DatasetRefs, model: ModelRefs) -> ScoreRefs:
    """answer (each candidate in turn) > check parity > ask suites > measure drift (> judge) > score."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        rows = candidates.test_rows(workspace, dataset)
        samples = candidates.answers(workspace, dataset, model, rows)
        checked = policies.made(
            parity.check_parity,
            "parity",
            workspace,
            parity.inputs(model, samples),
            parity.identity(workspace),
            {"run": model.run},
            model=model,
            samples=samples,
            rows=quote(rows),
        )
        publish.parity(workspace, checked)
        samples |= candidates.quantized_base(workspace, dataset, model, checked, rows)
        asked = suites.measured(workspace, model, samples, rows)
        judged = judging.judgements(workspace, dataset, model, samples, rows)
        card = scoring.scorecard(workspace, dataset, model, samples, checked, asked, judged, rows)
        return publish.scorecard(workspace, dataset, model, card)
