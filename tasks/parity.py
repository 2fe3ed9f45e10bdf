"""Task of the check gates: whether each file is the model that was trained."""

from collections.abc import Sequence
from typing import Any

from prefect import task
from understudy.tasks import policies
from understudy.tasks.candidates import Rows

from understudy.engines import comparison
from understudy.interfaces import Candidate
from understudy.progress import track
from understudy.records import AssetRef, ModelRefs, Sample
from understudy.stages import parity
from understudy.workspace import Workspace


@task(name="check-parity", **policies.ASSET)
def check_parity(
    workspace: Workspace, made_from: str, run: str, model: ModelRefs, samples: dict[str, AssetRef], rows: Rows
) -> AssetRef:
    """Which files are refused, by likelihood, divergence and how their answers end."""
    if found := policies.ready("parity", workspace, made_from, {"run": run}):
        return found
    said: dict[str, Sequence[Sample]] = {name: workspace.rows(ref) for name, ref in samples.items()}
    refs = {"adapter": model.adapter, "fused": model.fused} | model.files
    with track("check parity") as progress:
        found_out = parity.check(
            workspace.config.name,
            run,
            candidates(workspace, model),
            {name: ref.bytes for name, ref in refs.items()},
            rows,
            said,
            workspace.config.export.limits,
            workspace.config.evaluate.max_tokens,
            comparison.compare,
            workspace.config.seed,
            progress,
        )
    return workspace.save("parity", [found_out], made_from, run=run)


def candidates(workspace: Workspace, model: ModelRefs) -> list[Candidate]:
    """The forms of the tuned model, in the order they were made."""
    base, fused = workspace.file(model.base), workspace.file(model.fused)
    files = [Candidate(kind, "llama_cpp", workspace.file(ref)) for kind, ref in model.files.items()]
    return [
        Candidate("adapter", "mlx", base, workspace.file(model.adapter)),
        Candidate("fused", "mlx", fused),
        *files,
    ]


def inputs(model: ModelRefs, samples: dict[str, AssetRef]) -> list[AssetRef]:
    """What the gates look at: the weights, and what they said."""
    said = [samples[name] for name in ("adapter", "fused", *model.files)]
    return [model.base, model.adapter, model.fused, *model.files.values(), *said]


def identity(workspace: Workspace) -> Any:
    """What, beside their inputs, decides the outcome of the gates."""
    engines = [workspace.engine_identity(name) for name in ("mlx", "llama_cpp")]
    return [workspace.config.export.limits.model_dump(mode="json"), *engines]
