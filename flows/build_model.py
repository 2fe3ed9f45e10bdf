"""Train, valid and test in, a tuned model in several files out."""

from prefect import flow
from prefect.utilities.annotations import quote

from tasks import model, policies, publish, scoring, training
from understudy import locks
from understudy.records import DatasetRefs, ModelRefs
from understudy.workspace import Workspace


@flow(name="build-model", flow_run_name="model-{workspace.config.name}", persist_result=False)
def build_model(workspace: Workspace, dataset: DatasetRefs) -> ModelRefs:
    """prepare base > train > fuse > convert > quantize."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        row = quote(scoring.test_rows(workspace, dataset)[0])
        base = model.base(workspace, dataset.pairs, dataset.split)
        keys = workspace.run_keys(base, dataset)
        adapter = policies.made(
            training.train,
            "adapter",
            workspace,
            [base, dataset.train, dataset.valid],
            keys=keys,
            base=base,
            train=dataset.train,
            valid=dataset.valid,
        )
        publish.losses(workspace, adapter)
        fused = policies.made(model.fuse, "fused", workspace, [base, adapter], keys=keys, base=base, adapter=adapter)
        f16 = policies.made(model.convert, "f16", workspace, [fused], keys=keys, fused=fused, row=row)
        quantized = {
            kind: policies.prepared(model.quantize, "gguf", workspace, [f16], kind, keys | {"type": kind}).submit(
                f16=f16, row=row
            )
            for kind in workspace.config.export.types
        }
        files = {"F16": f16} | {kind: wait() for kind, wait in quantized.items()}
        return publish.files(workspace, ModelRefs(base=base, adapter=adapter, fused=fused, files=files, **keys))
