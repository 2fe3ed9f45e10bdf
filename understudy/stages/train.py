"""Stage `train`: base and pairs in, adapter out, every loss on the way in metrics.jsonl, and a record of the run."""

from contextlib import nullcontext
from pathlib import Path

from understudy import locks
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Progress
from understudy.records import AdapterCard, AssetRef, DatasetRefs
from understudy.runs import lora_config, run_record, snapshots
from understudy.runs.elsewhere import RemoteTrainer

VERSION = 1


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str | None:
    """What is in the folder that the preset only names, for an adapter made elsewhere; None where it is trained."""
    trainer = graph.config.plugin("trainer")
    contents: str | None = trainer.contents() if hasattr(trainer, "contents") else None
    return contents


def materialize(node: Node, remote: RemoteTrainer | None = None) -> AssetRef:
    """The adapter, tuned in the train split and chosen in the valid split; what a killed run left is taken up."""
    surroundings = run_record.surroundings()
    trainer, seed = remote or node.config.plugin("trainer"), node.config.seed

    def train(out: Path, progress: Progress) -> AdapterCard:
        with nullcontext() if remote else locks.only_training():
            card: AdapterCard = trainer.train(
                node.file("base"), node.file("train"), node.file("valid"), out, seed, progress
            )
        return card

    adapter = node.build(train)
    trials = [node.workspace.read(ref) for name, ref in node.known.items() if name.startswith("trial/")]
    dataset = DatasetRefs.model_validate({name: node.ref(name) for name in DatasetRefs.model_fields})
    surroundings = remote.surroundings if remote else surroundings
    record = run_record.written(
        node.workspace, surroundings, node.fingerprint, node.ref("base"), dataset, trials, adapter
    )
    snapshots.keep(node.workspace, dataset)
    node.save([record], "run")
    node.save_text("lora", lora_config.text(record))
    return adapter
