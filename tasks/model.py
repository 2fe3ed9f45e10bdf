"""Tasks of the model half around training: prepare the base, fuse, convert, quantize."""

import os
from pathlib import Path

from prefect import task

from tasks import policies
from understudy.progress import track
from understudy.records import AssetRef, ChatExample, Document, Pair, SplitPlan
from understudy.stages import convert as converting
from understudy.stages import fuse as fusing
from understudy.stages import prepare_base as preparing
from understudy.stages import quantize as quantizing
from understudy.workspace import Workspace


@task(name="prepare-base", **policies.ASSET)
def prepare_base(workspace: Workspace, made_from: str, base: str, split: AssetRef) -> AssetRef:
    """The start weights; a base made of talks sees those of the train side only."""
    plugin = workspace.plugin("base")
    talks = _train_talks(workspace, split) if plugin.needs_talks else []

    def make(out: Path) -> preparing.BaseCard:
        with policies.only_training(), track("prepare base") as report:
            return preparing.prepare(plugin, talks, out, workspace.config.seed, report)

    return workspace.build_folder("base", make, made_from, base=base)


def base(workspace: Workspace, pairs: AssetRef, split: AssetRef) -> AssetRef:
    """The start weights, made unless they are there."""
    inputs, keys = workspace.base_recipe(pairs, split)
    return policies.made(prepare_base, "base", workspace, inputs, keys=keys, split=split)


@task(name="fuse", **policies.ASSET)
def fuse(workspace: Workspace, made_from: str, run: str, base: AssetRef, adapter: AssetRef) -> AssetRef:
    """Base and adapter merged."""

    def make(out: Path) -> fusing.FusedCard:
        with track("fuse") as report:
            return fusing.fuse(workspace.plugin("trainer"), workspace.file(base), workspace.file(adapter), out, report)

    return workspace.build_folder("fused", make, made_from, run=run)


@task(name="convert", **policies.ASSET)
def convert(workspace: Workspace, made_from: str, run: str, fused: AssetRef, row: tuple[Pair, ChatExample]) -> AssetRef:
    """The fused model as a GGUF f16 file."""
    exporter, engine = workspace.exporter(), workspace.engine("llama_cpp")

    def make(out: Path) -> converting.GgufCard:
        with track("convert") as report:
            return converting.convert(exporter, engine, workspace.file(fused), out, row, report)

    return workspace.build_file("f16", make, made_from, run=run)


@task(name="quantize", task_run_name="quantize-{type}", **policies.ASSET)
def quantize(
    workspace: Workspace, made_from: str, run: str, type: str, f16: AssetRef, row: tuple[Pair, ChatExample]
) -> AssetRef:
    """The f16 file with weights of `type`."""
    exporter, engine = workspace.exporter(), workspace.engine("llama_cpp", threads=_share_of_cores(workspace))

    def make(out: Path) -> quantizing.GgufCard:
        with track(f"quantize {type}") as report:
            return quantizing.quantize(exporter, engine, workspace.file(f16), out, type, row, report)

    return workspace.build_file("gguf", make, made_from, run=run, type=type)


def _share_of_cores(workspace: Workspace) -> int:
    """Quantizations run side by side; with more threads than cores llama.cpp spends its time waiting."""
    return max(1, (os.cpu_count() or 1) // len(workspace.config.export.types))


def _train_talks(workspace: Workspace, split: AssetRef) -> list[Document]:
    plan: SplitPlan = workspace.read(split)
    held_out = {*plan.documents["valid"], *plan.documents["test"]} if plan.honest else set()
    refs = (workspace.current("document", document=name) for name in plan.documents["train"] if name not in held_out)
    return [workspace.read(ref) for ref in refs if ref]
