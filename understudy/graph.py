"""
The graph of a run, derived from the catalog: what each asset is made of, whether it is fresh, what comes before it.

A `Graph` resolves assets by name and has each made once, inputs first, by the `make` it is given: flows hand it one
that runs Prefect tasks, `require` only checks that everything is on disk. So one order serves runs and `--only`.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from understudy import memory, registry, store
from understudy.calls import prompting
from understudy.catalog import CATALOG, WRITTEN_BY
from understudy.channel.ledger import key_of
from understudy.config import Config
from understudy.errors import ConfigError
from understudy.interfaces import Progress
from understudy.progress import track
from understudy.records import AssetRef, ChatExample, DatasetRefs, Entry, ModelRefs, Pair, Record, Split, SplitPlan
from understudy.sections import PluginSpec, QuestionSettings, VerifySpec
from understudy.text.words import slug
from understudy.workspace import Workspace

log = logging.getLogger("understudy.graph")

RUN_DIGITS = 8
Refs = Mapping[str, AssetRef]
Rows = list[tuple[Pair, ChatExample]]
PARALLEL = ("type", "format", "candidate", "trial")
"""Keys that tell the runs of one stage apart."""


@dataclass(frozen=True)
class Node:
    """One asset of a run: what it is made of, its fingerprint, and where it goes."""

    workspace: Workspace
    name: str
    keys: dict[str, str]
    inputs: dict[str, AssetRef]
    fingerprint: str
    apart: tuple[str, ...]
    """What tells this run of the stage from its others, e.g. the type of a file."""
    known: Refs
    """Every asset that was resolved before: to be read, but no part of what this one is made of."""

    @property
    def stage(self) -> str:
        """The module of `understudy.stages` that makes it."""
        return CATALOG[self.name].stage

    @property
    def label(self) -> str:
        """'quantize-tea-Q8_0': stage, channel and what tells it apart."""
        return "-".join([self.stage.replace("_", "-"), self.workspace.config.name, *self.apart])

    def fresh(self) -> AssetRef | None:
        """The asset, when it and what is written together with it are fresh on disk."""
        names = (*CATALOG[self.name].written_with, self.name)
        refs = [self.workspace.fresh(name, self.fingerprint, **self.keys) for name in names]
        return None if None in refs else refs[-1]

    def group(self, name: str) -> dict[str, AssetRef]:
        """The inputs of one kind by their key, e.g. 'samples' > {'base': ..., 'adapter': ...}."""
        return {key.partition("/")[2]: ref for key, ref in self.inputs.items() if key.startswith(f"{name}/")}

    @property
    def config(self) -> Config:
        """The preset."""
        return self.workspace.config

    def talks(self, name: str) -> list[AssetRef]:
        """The asset `name` of every talk, in the order of the talks."""
        return [ref for key, ref in self.known.items() if key.startswith(f"{name}/")]

    def ref(self, name: str) -> AssetRef:
        """An input, or another known asset of that name."""
        return self.inputs[name] if name in self.inputs else self.known[name]

    def file(self, name: str) -> Path:
        """The file or folder of an input."""
        return self.workspace.file(self.ref(name))

    def read(self, name: str) -> Any:
        """The record or card of an input."""
        return self.workspace.read(self.ref(name))

    def rows(self, name: str) -> list[Any]:
        """All records of an input."""
        return self.workspace.rows(self.ref(name))

    def save(self, rows: Sequence[Record], name: str | None = None) -> AssetRef:
        """Write the asset, or `name` where it is one that is written together with it."""
        return self.workspace.save(name or self.name, rows, self.fingerprint, **self.keys)

    def save_text(self, name: str, text: str) -> AssetRef:
        """Write a page that goes together with the asset."""
        return self.workspace.save_text(name, text, self.fingerprint, **self.keys)

    def build(self, make: Callable[[Path, Progress], Record]) -> AssetRef:
        """The asset as a folder or large file that `make` fills, with the progress of its stage shown."""

        def filled(out: Path) -> Record:
            with self.track(out) as progress:
                return make(out, progress)

        return self.workspace.build(self.name, filled, self.fingerprint, **self.keys)

    @property
    def title(self) -> str:
        """'quantize Q8_0': the stage and what tells this run of it apart, for people."""
        return " ".join([self.stage.replace("_", " "), *self.apart])

    @property
    def why(self) -> str:
        """Whether it is made, and why, for the log."""
        if ref := self.fresh():
            return f"kept, {ref.path} is made of the same inputs and settings"
        if ref := self.workspace.latest(self.name, **self.keys):
            return f"made again: inputs, settings or version differ from those of {ref.path}"
        return "made, as it is not there yet"

    @contextmanager
    def track(self, out: Path | None = None) -> Iterator[Progress]:
        """Progress under the title of the node."""
        with track(self.title, out) as progress:
            yield progress

    def held_out(self) -> Rows:
        """The held-out pairs with their chat rows, in the order of their file; valid's where there is no test split."""
        return _held_out(self.workspace, self.ref)

    def train_rows(self) -> Rows:
        """The pairs of the train split with their chat rows, variants left out."""
        return _train_rows(self.workspace, self.ref)


Make = Callable[[Sequence[Node]], list[AssetRef]]
"""Has assets made, side by side where there are several, unless they are fresh."""


def materialize(node: Node) -> AssetRef:
    """The asset of a node, made by its stage unless it is fresh."""
    if ref := node.fresh():
        return ref
    made: AssetRef = _stage(node.name).materialize(node)
    size = f"{made.bytes / 1e6:.1f} MB" if made.bytes >= 100_000 else f"{made.bytes / 1e3:.1f} kB"
    log.info("%s: wrote %s, %s", node.title, made.path, size)
    return made


def require(nodes: Sequence[Node]) -> list[AssetRef]:
    """The assets as they are on disk. Raises ConfigError when one is not fresh."""
    refs = [node.fresh() for node in nodes]
    for node, ref in zip(nodes, refs, strict=True):
        if ref is None:
            name = node.workspace.config.name
            raise ConfigError([f"{node.name} of {name!r} is not on disk for these settings; run without --only"])
    return [ref for ref in refs if ref]


class Graph:
    """The assets of one preset in one home, each resolved once."""

    def __init__(self, workspace: Workspace, make: Make = require, known: Refs | None = None) -> None:
        self.workspace, self.make = workspace, make
        self.known: dict[str, AssetRef] = dict(known or {})

    @property
    def config(self) -> Config:
        """The preset."""
        return self.workspace.config

    def get(self, name: str, inputs: Refs | None = None, **keys: str) -> AssetRef:
        """The asset `name`; `inputs` are those that only the caller can name."""
        return self.each(name, [keys], inputs)[0]

    def each(self, name: str, keys: Sequence[dict[str, str]], inputs: Refs | None = None) -> list[AssetRef]:
        """The asset `name` once for each of `keys`, made side by side."""
        name = self._stand_in(name)
        slots = ["/".join([name, *one.values()]) for one in keys]
        if name in WRITTEN_BY and name not in self.known:
            self.get(WRITTEN_BY[name])
            ref = self.workspace.latest(name)
            assert ref is not None, f"{name} is written with {WRITTEN_BY[name]}"
            self.known[name] = ref
        due = {slot: one for slot, one in zip(slots, keys, strict=True) if slot not in self.known}
        if due:
            nodes = [self.node(name, inputs, **one) for one in due.values()]
            for node in nodes:
                log.debug("%s: %s", node.title, node.why)
            refs = self.make(nodes)
            self.known.update(zip(due, refs, strict=True))
        return [self.known[slot] for slot in slots]

    def node(self, name: str, inputs: Refs | None = None, **keys: str) -> Node:
        """The asset `name` with all it is made of, which is made first."""
        refs = dict(inputs or {})
        for wanted in self._inputs_of(name):
            refs |= self._resolved(wanted, refs)
        stage = _stage(name)
        extra = stage.identity(self, keys, refs) if hasattr(stage, "identity") else None
        fingerprint = fingerprint_of(self.workspace, name, list(refs.values()), extra)
        resolved = self._keys(name, keys, fingerprint)
        apart = tuple(value for key, value in (resolved | keys).items() if key in PARALLEL)
        return Node(self.workspace, name, resolved, refs, fingerprint, apart, self.known)

    def dataset(self) -> DatasetRefs:
        """The dataset: pairs, split and rows."""
        return DatasetRefs.model_validate({name: self.get(name) for name in DatasetRefs.model_fields})

    def model(self) -> ModelRefs:
        """The tuned model in all its forms: base > adapter > fused > first file > quantizations."""
        export, refs = self.config.export, {name: self.get(name) for name in ("base", "adapter", "fused")}
        first = self.get("f16")
        files: dict[str, AssetRef] = {export.first: first}
        for types in side_by_side(export.types, first.bytes, memory.free_bytes()):
            files.update(zip(types, self.each("gguf", [{"type": kind} for kind in types]), strict=True))
        # llama.cpp's own converter, where it is used, writes no adapter.
        knows = self.config.exporter().knows(self.workspace.file(refs["base"]))
        alone = self.get("adapter_file") if knows else None
        return ModelRefs(run=self.run, files=files, adapter_file=alone, **refs)

    def held_out(self) -> Rows:
        """The held-out pairs with their chat rows, in the order of their file; valid's where there is no test split."""
        return _held_out(self.workspace, self.get)

    def train_rows(self) -> Rows:
        """The pairs of the train split with their chat rows, variants left out."""
        return _train_rows(self.workspace, self.get)

    @property
    def run(self) -> str:
        """The name of the run's folder: equal settings on equal data are the same run."""
        return PurePosixPath(self.get("adapter").path).parts[2]

    def on_disk(self) -> DatasetRefs:
        """The dataset as it is on disk, whatever it was made of. Raises ConfigError when there is none."""
        names = {name: self._stand_in(name) for name in DatasetRefs.model_fields}
        refs = {name: self.workspace.latest(kept) for name, kept in names.items()}
        if None in refs.values():
            raise ConfigError([f"there is no dataset of {self.config.name!r} yet; run without --only first"])
        return DatasetRefs.model_validate(refs)

    def _stand_in(self, name: str) -> str:
        stand_ins = [other for other, asset in CATALOG.items() if asset.replaces == name and self._wanted(other)]
        return stand_ins[0] if stand_ins and name not in self.known else name

    def _wanted(self, name: str) -> bool:
        when = CATALOG[name].when if name in CATALOG else None
        return bool(when and attrgetter(when)(self.config))

    def _inputs_of(self, name: str) -> tuple[str, ...]:
        if name == "base" and not self.config.plugin("base").needs_talks:
            return ()
        return CATALOG[name].inputs

    def _resolved(self, wanted: str, given: Refs) -> Refs:
        """What one entry of a catalog row's inputs comes to."""
        name, mark = wanted.rstrip("*?"), wanted[-1]
        if mark == "*":
            return {slot: ref for slot, ref in self.known.items() if slot.startswith(f"{name}/")}
        if name in given:
            return {}
        if mark == "?" and name not in self.known and not self._wanted(name):
            return {}
        return {name: self.known[name] if name in self.known else self.get(name)}

    def _keys(self, name: str, keys: dict[str, str], fingerprint: str) -> dict[str, str]:
        """The values of the placeholders in the asset's path."""
        return {key: keys.get(key) or self._key(name, key, keys, fingerprint) for key in _placeholders(name)}

    def _key(self, name: str, key: str, keys: dict[str, str], fingerprint: str) -> str:
        digits = fingerprint[:RUN_DIGITS]
        if key == "base":
            spec = self.config.base
            title = str(spec.options.get("repository") or spec.options.get("file") or spec.use)
            title = title.rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf")
            return f"{slug(title)}-{digits}" if name == "base" else PurePosixPath(self.get("base").path).parts[2]
        if key == "run":
            return digits if name == "adapter" else self.run
        if key == "place":
            of_base = f"bases/{PurePosixPath(self.get('base').path).parts[2]}.scoring"
            return of_base if keys["candidate"] == "base" else f"{self.config.name}/{self.run}"
        return digits if key == "trial" else self.config.export.first


def chain(workspace: Workspace, entry: Entry) -> dict[str, AssetRef]:
    """The fresh assets of one talk, as far as document > questions > answers reaches."""
    refs: dict[str, AssetRef] = {}
    for name in ("document", "questions", "answers"):
        inputs = [refs[one] for one in CATALOG[name].inputs]
        wanted = fingerprint_of(workspace, name, inputs, entry.revision if name == "document" else None)
        ref = workspace.fresh(name, wanted, document=entry.document_id)
        if ref is None:
            break
        refs[name] = ref
    return refs


def fingerprint_of(workspace: Workspace, name: str, inputs: Sequence[AssetRef] = (), extra: Any = None) -> str:
    """What asset `name` is made of: contents, settings and versions, never paths or times."""
    config, asset = workspace.config, CATALOG[name]
    sections = {section: identity(config, section) for section in asset.settings}
    if name == "document" and config.sources:  # as if its own source were the only one
        spec = config.sources_by_key.get(key_of(str(extra)), config.source)
        sections["source"] = registry.identity("source", spec.use, spec.options)
    if name in ("questions", "answers"):
        sections["prompt"] = _prompt_of(config, config.teacher.use, name)
    if "augment" in asset.settings and config.augment.asks_teacher:
        sections |= {
            "teacher": identity(config, "teacher"),
            "prompt": _prompt_of(config, config.teacher.use, "augment"),
        }
    if name == "composed":
        sections |= {
            "teacher": identity(config, "teacher"),
            "prompt": _prompt_of(config, config.teacher.use, "compose"),
            "verify": identity(config, "verify") if config.verify.on else None,
            "check": _check_of(config) if config.verify.on else None,
        }
    return store.fingerprint(name, _stage(name).VERSION, sections, [ref.sha256 for ref in inputs], extra)


def identity(config: Config, section: str) -> Any:
    """What of a section decides what comes out: options that only say where or how fast are left out."""
    value = getattr(config, section)
    if isinstance(value, VerifySpec):
        plugin = registry.identity("teacher", value.use, value.options) | {
            "prompt": _prompt_of(config, value.use, "verify")
        }
        return plugin | {"fraction": value.fraction, "max_repairs": value.max_repairs}
    if isinstance(value, PluginSpec):
        return registry.identity(section, value.use, value.options)
    if section == "gates":
        return [registry.identity("gate", spec.use, spec.options) for spec in value]
    if section == "evaluate":
        return value.model_dump(mode="json") | {
            "metrics": [registry.identity("metric", spec.use, spec.options) for spec in value.metrics],
            "judge": judge_identity(config),
        }
    if isinstance(value, QuestionSettings):
        return value.model_dump(mode="json", exclude={"target_pairs"})  # further questions join those that are there
    if section == "export":
        return registry.identity("exporter", value.use, {}) | {"first": value.first}
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def judge_identity(config: Config, kind: str = "judge") -> Any:
    """What decides a judge's verdicts on given answers, by the prompt `kind`; None where the preset names no judge."""
    spec = config.evaluate.judge
    if not spec.on:
        return None
    return registry.identity("teacher", spec.use, spec.options) | {"prompt": _prompt_of(config, spec.use, kind)}


def engine_identity(config: Config, name: str) -> Any:
    """What, beside the model and the questions, decides the answers of an engine."""
    return [registry.identity("engine", name, {}), config.evaluate.questions, config.evaluate.max_tokens]


def side_by_side(types: Sequence[str], file_bytes: int, free_bytes: int) -> list[list[str]]:
    """The quantizations in groups that are made at once: one takes as much memory as the file it is made of."""
    size = max(1, min(len(types), int(free_bytes // max(1, file_bytes))))
    return [list(types[at : at + size]) for at in range(0, len(types), size)]


def _stage(name: str) -> ModuleType:
    return import_module(f"understudy.stages.{CATALOG[name].stage}")


def _placeholders(name: str) -> list[str]:
    return [key for key in re.findall(r"{(\w+)}", CATALOG[name].path) if key != "channel"]


def _prompt_of(config: Config, teacher: str, kind: str) -> str | None:
    """What stands for a pass's prompt; None for a teacher that is no language model."""
    if not registry.resolve("teacher", teacher).prompted:
        return None
    return prompting.identity(kind, config.teacher_prompts)


def _check_of(config: Config) -> Any:
    """What decides which refusals a second model takes out, beside what it is."""
    return [_prompt_of(config, config.verify.use, "unanswered"), config.verify.only_approved]


@lru_cache(maxsize=3)
def _read_split(home: Path, names: tuple[str, ...], pairs: AssetRef, rows: AssetRef) -> Rows:
    by_id = {pair.pair_id: pair for pair in store.read_rows(home, pairs, Pair)}
    return list(zip((by_id[name] for name in names), store.read_rows(home, rows, ChatExample), strict=True))


def _held_out(workspace: Workspace, ref: Callable[[str], AssetRef]) -> Rows:
    plan: SplitPlan = workspace.read(ref("split"))
    split: Split = "test" if plan.splits["test"] else "valid"
    return _read_split(workspace.home, tuple(plan.splits[split]), ref("pairs"), ref(split))


def _train_rows(workspace: Workspace, ref: Callable[[str], AssetRef]) -> Rows:
    plan: SplitPlan = workspace.read(ref("split"))
    train = workspace.latest("train")
    assert train is not None, "a dataset comes before what is made of it"
    return _read_split(workspace.home, tuple(plan.splits["train"]), ref("pairs"), train)
