"""Train, valid and test in, a tuned model in several files out."""

from prefect import flow
from prefect.utilities.annotations import quote
from understudy.tasks import candidates, model, policies, publish, training

from understudy import locks
from understudy.records import DatasetRefs, ModelRefs
from understudy.workspace import Workspace


@flow(name="build-model", flow_run_name="model-{workspace.config.name}", persist_result=False)
def build_model(workspace: Workspace, dataset: DatasetRefs) -> ModelRefs:
    """prepare base > (tune >) train > fuse > convert > weigh > quantize."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        row = quote(candidates.test_rows(workspace, dataset)[0])
        base = model.base(workspace, dataset.pairs, dataset.split)
        workspace, tried = training.tuned(workspace, base, dataset)
        keys = workspace.run_keys(base, dataset)
        inputs = [base, dataset.train, dataset.valid]
        adapter = policies.made(
            training.train, "adapter", workspace, inputs, keys=keys, base=base, dataset=dataset, tried=tried
        )
        publish.losses(workspace, adapter)
        fused = policies.made(model.fuse, "fused", workspace, [base, adapter], keys=keys, base=base, adapter=adapter)
        made = model.export(workspace, keys, base, adapter, fused, dataset.train, row)
        return publish.files(workspace, made)
