"""Tasks of the model half around training: prepare the base, fuse, convert, weigh, quantize."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from understudy.tasks import policies

from understudy import memory
from understudy.progress import track
from understudy.records import AssetRef, ChatExample, Document, ModelRefs, Pair, SplitPlan
from understudy.stages import convert as converting
from understudy.stages import fuse as fusing
from understudy.stages import importance as weighing
from understudy.stages import prepare_base as preparing
from understudy.stages import quantize as quantizing
from understudy.workspace import Workspace


@task(name="prepare-base", **policies.ASSET)
def prepare_base(workspace: Workspace, made_from: str, base: str, split: AssetRef) -> AssetRef:
    """The start weights; a base made of talks sees those of the train side only."""
    plugin = workspace.plugin("base")
    talks = _train_talks(workspace, split) if plugin.needs_talks else []

    def make(out: Path) -> preparing.BaseCard:
        with policies.only_training(), track("prepare base") as progress:
            return preparing.prepare(plugin, talks, out, workspace.config.seed, progress)

    return workspace.build_folder("base", make, made_from, base=base)


def base(workspace: Workspace, pairs: AssetRef, split: AssetRef) -> AssetRef:
    """The start weights, made unless they are there."""
    inputs, keys = workspace.base_recipe(pairs, split)
    return policies.made(prepare_base, "base", workspace, inputs, keys=keys, split=split)


@task(name="fuse", **policies.ASSET)
def fuse(workspace: Workspace, made_from: str, run: str, base: AssetRef, adapter: AssetRef) -> AssetRef:
    """Base and adapter merged."""
    trainer, exporter = workspace.plugin("trainer"), workspace.exporter()

    def make(out: Path) -> fusing.FusedCard:
        with track("fuse") as progress:
            return fusing.fuse(trainer, exporter, workspace.file(base), workspace.file(adapter), out, progress)

    return workspace.build_folder("fused", make, made_from, run=run)


@task(name="convert", **policies.ASSET)
def convert(
    workspace: Workspace, made_from: str, run: str, type: str, fused: AssetRef, row: tuple[Pair, ChatExample]
) -> AssetRef:
    """The fused model as the file that the quantizations are made of."""
    exporter, engine = workspace.exporter(), workspace.engine("llama_cpp")

    def make(out: Path) -> converting.GgufCard:
        with track("convert") as progress:
            return converting.convert(exporter, engine, workspace.file(fused), out, type, row, progress)

    return workspace.build_file("f16", make, made_from, run=run, type=type)


@task(name="convert-adapter", **policies.ASSET)
def convert_adapter(workspace: Workspace, made_from: str, run: str, base: AssetRef, adapter: AssetRef) -> AssetRef:
    """The adapter alone as a file, for programs that run it beside a file of the base."""

    def make(out: Path) -> converting.LoraFileCard:
        with track("convert adapter") as progress:
            files = workspace.file(base), workspace.file(adapter)
            return converting.adapter(workspace.exporter(), *files, out, progress)

    return workspace.build_file("adapter_file", make, made_from, run=run)


@task(name="importance", **policies.ASSET)
def importance(workspace: Workspace, made_from: str, run: str, fused: AssetRef, train: AssetRef) -> AssetRef:
    """How much each column of the fused model's matrices matters to the train side."""

    def make(out: Path) -> weighing.ImportanceCard:
        with track("importance") as progress:
            exporter = workspace.exporter()
            return weighing.importance(exporter, workspace.file(fused), workspace.file(train), out, progress)

    return workspace.build_folder("importance", make, made_from, run=run)


@task(name="quantize", **policies.ASSET)
def quantize(
    workspace: Workspace,
    made_from: str,
    run: str,
    type: str,
    first: AssetRef,
    weighed: AssetRef | None,
    row: tuple[Pair, ChatExample],
) -> AssetRef:
    """The first file with weights of `type`."""
    exporter, engine = workspace.exporter(), workspace.engine("llama_cpp", threads=_share_of_cores(workspace))
    by = workspace.file(weighed) if weighed else None

    def make(out: Path) -> quantizing.GgufCard:
        with track(f"quantize {type}") as progress:
            return quantizing.quantize(exporter, engine, workspace.file(first), out, type, by, row, progress)

    return workspace.build_file("gguf", make, made_from, run=run, type=type)


def export(
    workspace: Workspace,
    keys: dict[str, str],
    base: AssetRef,
    adapter: AssetRef,
    fused: AssetRef,
    train: AssetRef,
    row: Any,
) -> ModelRefs:
    """Every file of the fused model: the first one, each quantization of it, and the adapter alone."""
    settings = workspace.config.export
    typed = keys | {"type": settings.first}
    first = policies.made(convert, "f16", workspace, [fused], keys=typed, fused=fused, row=row)
    weighed = None
    if settings.importance:
        inputs = [fused, train]
        weighed = policies.made(importance, "importance", workspace, inputs, keys=keys, fused=fused, train=train)
    inputs, files = [first, *([weighed] if weighed else [])], {settings.first: first}
    for types in side_by_side(settings.types, workspace.file(first).stat().st_size, memory.free_bytes()):
        started = {
            kind: policies.prepared(quantize, "gguf", workspace, inputs, kind, keys | {"type": kind}).submit(
                first=first, weighed=weighed, row=row
            )
            for kind in types
        }
        files |= {kind: wait() for kind, wait in started.items()}
    alone = None
    if workspace.exporter().knows(workspace.file(base)):  # llama.cpp's converter, where it is used, writes none
        both = {"base": base, "adapter": adapter}
        alone = policies.made(convert_adapter, "adapter_file", workspace, [base, adapter], keys=keys, **both)
    return ModelRefs(base=base, adapter=adapter, fused=fused, files=files, adapter_file=alone, **keys)


def side_by_side(types: Sequence[str], file_bytes: int, free_bytes: int) -> list[list[str]]:
    """The quantizations in groups that are made at once: one takes as much memory as the file it is made of."""
    size = max(1, min(len(types), int(free_bytes // max(1, file_bytes))))
    return [list(types[at : at + size]) for at in range(0, len(types), size)]


def _share_of_cores(workspace: Workspace) -> int:
    """Quantizations run side by side; with more threads than cores llama.cpp spends its time waiting."""
    return max(1, (os.cpu_count() or 1) // len(workspace.config.export.types))


def _train_talks(workspace: Workspace, split: AssetRef) -> list[Document]:
    plan: SplitPlan = workspace.read(split)
    held_out = {*plan.documents["valid"], *plan.documents["test"]} if plan.honest else set()
    refs = (workspace.current("document", document=name) for name in plan.documents["train"] if name not in held_out)
    return [workspace.read(ref) for ref in refs if ref]
