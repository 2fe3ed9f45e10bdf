"""
One preset in one home folder: where its assets are, whether they are fresh, how they are made.

A workspace is plain data, so it travels as a task argument; plugins are built where they work.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from understudy import registry, store
from understudy.calls import judging
from understudy.catalog import CATALOG
from understudy.channel import imported
from understudy.channel.ledger import Ledger
from understudy.config import Config
from understudy.errors import ConfigError
from understudy.interfaces import Engine, Exporter
from understudy.records import AssetRef, DatasetRefs, Entry, Record
from understudy.sections import PluginSpec, VerifySpec
from understudy.text.words import slug


class Workspace(BaseModel):
    """The assets of one channel under `home`/data and `home`/models."""

    model_config = ConfigDict(frozen=True)
    home: Path
    config: Config

    @property
    def ledger(self) -> Ledger:
        """What happened to each document."""
        return Ledger(self.folder / "ledger.sqlite", self.config.ledger)

    @property
    def lock(self) -> Path:
        """Held by the run that works on this channel."""
        return self.folder / ".lock"

    def imported(self) -> dict[str, Path]:
        """Document id > the caption file that was brought in for it."""
        return imported.files(self.folder)

    @property
    def folder(self) -> Path:
        """What belongs to the channel: its ledger, documents and dataset."""
        return self.home / "data" / self.config.name

    @property
    def verifier(self) -> Any:
        """The plugin that checks pairs; it keeps its calls in a folder of its own."""
        return self.plugin("teacher", self.config.verify)

    @property
    def verifier_folder(self) -> Path:
        """Where the verifier's calls are."""
        return self.folder / "verify"

    @property
    def judge(self) -> Any:
        """The plugin that compares answers, None where the preset names none; its calls have a folder of their own."""
        spec = self.config.evaluate.judge
        return self.plugin("teacher", spec) if spec.use != "none" else None

    @property
    def judge_folder(self) -> Path:
        """Where the judge's calls are."""
        return self.folder / "judge"

    @property
    def judge_identity(self) -> Any:
        """What decides a judge's verdicts on given answers: who it is and what it is told."""
        spec = self.config.evaluate.judge
        if spec.use == "none":
            return None
        return registry.identity("teacher", spec.use, spec.options) | {"prompt": judging.prompt_sha256()}

    def plugin(self, kind: str, spec: PluginSpec | None = None) -> Any:
        """The plugin of this preset's section `kind`, or the one `spec` names."""
        spec = spec or getattr(self.config, kind)
        return registry.build(kind, spec.use, spec.options)

    def path(self, name: str, **keys: str) -> str:
        """Where asset `name` lives, relative to the home folder."""
        return CATALOG[name].path.format(channel=self.config.name, **keys)

    def fingerprint(self, name: str, inputs: Iterable[AssetRef] = (), extra: Any = None) -> str:
        """What asset `name` is made from: contents, settings and versions, never paths or times."""
        asset = CATALOG[name]
        version = import_module(f"understudy.stages.{asset.stage}").VERSION
        sections = {section: self._identity(section) for section in asset.settings}
        if name in ("questions", "answers"):
            sections["prompt"] = _prompt_of(self.config.teacher.use, name)
        if "augment" in asset.settings and self.config.augment.asks_teacher:
            sections["teacher"] = self._identity("teacher")
            sections["prompt"] = _prompt_of(self.config.teacher.use, "augment")
        return store.fingerprint(name, version, sections, [ref.sha256 for ref in inputs], extra)

    def fresh(self, name: str, made_from: str, **keys: str) -> AssetRef | None:
        """The finished asset when it was made from `made_from`, else None."""
        return store.fresh(self.home, self.path(name, **keys), made_from)

    def save(self, name: str, rows: Iterable[Record], made_from: str, **keys: str) -> AssetRef:
        """Write records as asset `name`."""
        path = self.path(name, **keys)
        data, count = store.encode(path, rows)
        return store.write_file(self.home, name, path, data, count, made_from)

    def save_text(self, name: str, text: str, made_from: str, **keys: str) -> AssetRef:
        """Write a page as asset `name`."""
        return store.write_file(self.home, name, self.path(name, **keys), text.encode(), 1, made_from)

    def save_card(self, name: str, text: str, **keys: str) -> AssetRef:
        """Write a page that says what is known now; nothing is written when it says so already."""
        made_from = store.fingerprint(name, text)
        return self.fresh(name, made_from, **keys) or self.save_text(name, text, made_from, **keys)

    def build_folder(self, name: str, make: Callable[[Path], Record], made_from: str, **keys: str) -> AssetRef:
        """The folder asset `name`, made by `make` unless it is fresh."""
        return self.fresh(name, made_from, **keys) or store.build_folder(
            self.home, name, self.path(name, **keys), make, made_from
        )

    def build_file(self, name: str, make: Callable[[Path], Record], made_from: str, **keys: str) -> AssetRef:
        """The large file asset `name`, made by `make` unless it is fresh."""
        return self.fresh(name, made_from, **keys) or store.build_file(
            self.home, name, self.path(name, **keys), make, made_from
        )

    def current(self, name: str, **keys: str) -> AssetRef | None:
        """The finished asset on disk, whatever it was made from."""
        return store.current(self.home, self.path(name, **keys))

    def read(self, ref: AssetRef) -> Any:
        """The one record of a JSON asset, or the card of a folder."""
        record = CATALOG[ref.name].record
        assert record is not None, f"{ref.name} holds no records"
        return store.read_record(self.home, ref, record)

    def rows(self, ref: AssetRef) -> list[Any]:
        """All records of an asset."""
        record = CATALOG[ref.name].record
        assert record is not None, f"{ref.name} holds no records"
        return list(store.read_rows(self.home, ref, record))

    def file(self, ref: AssetRef) -> Path:
        """The asset's file or folder on this machine."""
        return self.home / ref.path

    def document_fingerprint(self, entry: Entry) -> str:
        """What the document of `entry` is made from."""
        return self.fingerprint("document", extra=entry.revision)

    def chain(self, entry: Entry) -> dict[str, AssetRef]:
        """The fresh assets of one talk, as far as the chain document > questions > answers reaches."""
        found: dict[str, AssetRef] = {}
        wanted = self.document_fingerprint(entry)
        for name in ("document", "questions", "answers"):
            ref = self.fresh(name, wanted, document=entry.document_id)
            if ref is None:
                break
            found[name] = ref
            following = {"document": "questions", "questions": "answers"}.get(name)
            if following:
                wanted = self.fingerprint(following, [found["document"], *([ref] if name == "questions" else [])])
        return found

    def exporter(self) -> Exporter:
        """The exporter of this preset."""
        settings = self.config.export
        return self.plugin(
            "exporter", PluginSpec(use=settings.use, name=self.config.name, llama_cpp_dir=settings.llama_cpp_dir)
        )

    def engine(self, name: str, **options: Any) -> Engine:
        """What runs model files of one format."""
        return self.plugin("engine", PluginSpec(use=name, **options))

    def engine_identity(self, name: str) -> Any:
        """What, beside the model and the questions, decides what an engine says."""
        settings = self.config.evaluate
        return [registry.identity("engine", name, {}), settings.questions, settings.max_tokens]

    def base_recipe(self, pairs: AssetRef, split: AssetRef) -> tuple[list[AssetRef], dict[str, str]]:
        """What the base is made from, and the name of its folder."""
        spec = self.config.base
        inputs = [pairs, split] if self.plugin("base").needs_talks else []
        name = slug(str(spec.options.get("repository", spec.use)).rstrip("/").rsplit("/", 1)[-1])
        return inputs, {"base": f"{name}-{self.fingerprint('base', inputs)[:8]}"}

    def run_keys(self, base: AssetRef, dataset: DatasetRefs) -> dict[str, str]:
        """The name of the run's folder: equal settings on equal data are the same run."""
        return {"run": self.fingerprint("adapter", [base, dataset.train, dataset.valid])[:8]}

    def dataset(self) -> DatasetRefs:
        """The dataset on disk. Raises ConfigError when there is none."""
        found = {name: self.current(name) for name in DatasetRefs.model_fields}
        if self.config.augment.on:
            found["train"] = self.current("augmented")
        if None in found.values():
            raise ConfigError([f"there is no dataset of {self.config.name!r} yet; run without --only first"])
        return DatasetRefs.model_validate(found)

    def finished(self, name: str, made_from: str, **keys: str) -> AssetRef:
        ref = self.fresh(name, made_from, **keys)
        if ref is None:
            raise ConfigError([f"{name} of {self.config.name!r} is not there for these settings; run without --only"])
        return ref

    def _identity(self, section: str) -> Any:
        """What of a section decides what comes out: options that only say where or how fast are left out."""
        value = getattr(self.config, section)
        if isinstance(value, VerifySpec):
            how = registry.identity("teacher", value.use, value.options) | {"prompt": _prompt_of(value.use, "verify")}
            return how | {"fraction": value.fraction, "max_repairs": value.max_repairs}
        if isinstance(value, PluginSpec):
            return registry.identity(section, value.use, value.options)
        if isinstance(value, list):
            return [registry.identity({"gates": "gate"}[section], spec.use, spec.options) for spec in value]
        if section == "evaluate":
            return value.model_dump(mode="json") | {
                "metrics": [registry.identity("metric", spec.use, spec.options) for spec in value.metrics],
                "judge": self.judge_identity,
            }
        if section == "export":
            return registry.identity("exporter", value.use, {}) | {"first": value.first}
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


@lru_cache(maxsize=16)
def _prompt_of(teacher: str, kind: str) -> str | None:
    """Digest of a pass's prompt, read once: a run works by the files as it found them."""
    return registry.resolve("teacher", teacher).prompt_sha256(kind)
