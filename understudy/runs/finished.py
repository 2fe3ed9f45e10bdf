"""The finished model of a preset: the files on disk that its settings would make again."""

from understudy.records import DatasetRefs, ModelRefs
from understudy.runs import trials
from understudy.workspace import Workspace


def finished_model(workspace: Workspace, dataset: DatasetRefs) -> ModelRefs:
    """The finished model of this preset on `dataset`. Raises ConfigError when there is none."""
    inputs, base_keys = workspace.base_recipe(dataset.pairs, dataset.split)
    base = workspace.finished("base", workspace.fingerprint("base", inputs), **base_keys)
    if workspace.config.tune.trials:
        return finished_model(trials.settled_before(workspace, base, dataset), dataset)
    keys = workspace.run_keys(base, dataset)
    adapter = workspace.finished(
        "adapter", workspace.fingerprint("adapter", [base, dataset.train, dataset.valid]), **keys
    )
    fused = workspace.finished("fused", workspace.fingerprint("fused", [base, adapter]), **keys)
    export = workspace.config.export
    f16 = workspace.finished("f16", workspace.fingerprint("f16", [fused]), type=export.first, **keys)
    weighed = []
    if export.importance:
        weighed.append(
            workspace.finished("importance", workspace.fingerprint("importance", [fused, dataset.train]), **keys)
        )
    files = {export.first: f16} | {
        kind: workspace.finished("gguf", workspace.fingerprint("gguf", [f16, *weighed], kind), type=kind, **keys)
        for kind in export.types
    }
    alone = workspace.fresh("adapter_file", workspace.fingerprint("adapter_file", [base, adapter]), **keys)
    return ModelRefs(base=base, adapter=adapter, fused=fused, files=files, adapter_file=alone, **keys)
