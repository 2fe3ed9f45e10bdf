"""A model in, the evidence of whether it worked out."""

from prefect import flow
from prefect.utilities.annotations import quote

from tasks import policies, publish, scoring
from understudy import locks
from understudy.records import AssetRef, DatasetRefs, ModelRefs, ScoreRefs
from understudy.workspace import Workspace


@flow(name="score-model", flow_run_name="score-{workspace.config.name}", persist_result=False)
def score_model(workspace: Workspace, dataset: DatasetRefs, model: ModelRefs) -> ScoreRefs:
    """Base, adapter, fused model and every exported file answer the same held-out questions."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        rows = quote(scoring.test_rows(workspace, dataset))
        candidates: dict[str, tuple[str, AssetRef, AssetRef | None]] = {
            "base": ("mlx", model.base, None),
            "adapter": ("mlx", model.base, model.adapter),
            "fused": ("mlx", model.fused, None),
            **{kind: ("llama_cpp", file, None) for kind, file in model.files.items()},
        }
        samples = {}
        for name, (engine, weights, adapter) in candidates.items():
            inputs = [weights, *([adapter] if adapter else []), dataset.test]
            samples[name] = policies.made(
                scoring.answer,
                "samples",
                workspace,
                inputs,
                workspace.engine_identity(engine),
                {"run": model.run, "candidate": name},
                engine=engine,
                model=weights,
                adapter=adapter,
                rows=rows,
            )
        scorecard = policies.made(
            scoring.score,
            "scorecard",
            workspace,
            [dataset.split, *samples.values()],
            keys={"run": model.run},
            dataset=dataset,
            model=model,
            samples=samples,
            rows=rows,
        )
        return publish.scorecard(workspace, dataset, model, scorecard)
