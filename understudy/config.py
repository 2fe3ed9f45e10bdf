"""
The schema of a preset: one section per stage. `deployments/presets/documents.yaml` shows every key.

All problems of a preset are reported at once: unknown keys (with the nearest valid one),
values out of range, plugins that do not exist, options their plugin does not know.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from understudy import registry
from understudy.calls.prompting import Prompts
from understudy.errors import ConfigError
from understudy.interfaces import Engine, Exporter
from understudy.registry import nearest, option_problems
from understudy.sections import (
    FREE_GATES,
    AnswerSettings,
    AugmentSettings,
    EvaluateSettings,
    ExportSettings,
    PluginSpec,
    PromptSettings,
    PublishSettings,
    QuestionSettings,
    RunnerSettings,
    Settings,
    SplitSettings,
    SyncSettings,
    TuneSettings,
    VerifySpec,
)

ADDRESSES = ("ledger", "remote")
"""Keys whose wrong values are not repeated in messages: they may contain a password."""


class Config(Settings):
    """A whole preset."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the folder under data/ and models/")
    permission: Literal["owned", "permitted", "own_risk"] | None = Field(
        default=None, description="your right to the talks; required for a channel, printed in every card"
    )
    licence: str | None = Field(default=None, description="of the dataset, as the Hugging Face Hub names it")
    source: PluginSpec
    teacher: PluginSpec
    prompts: PromptSettings = PromptSettings()
    questions: QuestionSettings = QuestionSettings()
    answers: AnswerSettings = AnswerSettings()
    verify: VerifySpec = VerifySpec()
    gates: list[PluginSpec] = Field(
        default=[PluginSpec(use=name) for name in FREE_GATES], description="in this order; a pair must pass all of them"
    )
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    formats: list[Literal["alpaca", "sharegpt", "openai_chat", "llama_factory", "huggingface"]] = Field(
        default=[], description="also written, for other programs"
    )
    base: PluginSpec = Field(
        description="'scratch', a folder, a .gguf file, ollama:NAME, lmstudio:NAME, or a Hugging Face repository"
    )
    trainer: PluginSpec
    tune: TuneSettings = TuneSettings()
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    sync: SyncSettings = SyncSettings()
    publish: PublishSettings = PublishSettings()
    runner: RunnerSettings = RunnerSettings()
    ledger: str | None = Field(
        default=None,
        validate_default=True,
        description="postgresql://user@host/database, for several machines; None: a file of the channel",
    )
    remote: str | None = Field(
        default=None,
        description="s3://bucket/path that a run pulls first and pushes to, for machines without a shared disk",
    )
    seed: int = Field(default=42, ge=0)

    @field_validator("ledger")
    @classmethod
    def _can_be_a_ledger(cls, url: str | None, info: ValidationInfo) -> str | None:
        runner: RunnerSettings | None = info.data.get("runner")
        if url is None and runner and runner.address:
            raise ValueError("the workers at runner.address need one that they can all reach: postgresql://...")
        from understudy.database import postgres

        if url is not None and (problem := postgres.problem(url)):
            raise ValueError(problem)
        return url

    @field_validator("remote")
    @classmethod
    def _can_be_copied_to(cls, url: str | None, info: ValidationInfo) -> str | None:
        from understudy.channel import remote

        if url is not None and (problem := remote.problem(url)):
            raise ValueError(problem)
        if url is not None and info.data.get("ledger", "") is None:
            raise ValueError(
                "it needs ledger: postgresql://..., its lease prevents two machines from running the channel at once"
            )
        return url

    @field_validator("base", mode="before")
    @classmethod
    def _base_by_name(cls, value: Any) -> Any:
        return base_section(value) if isinstance(value, str) else value

    def plugin(self, kind: str, spec: PluginSpec | None = None) -> Any:
        """The plugin of the section `kind`, or the one `spec` names."""
        spec = spec or getattr(self, kind)
        plugin = registry.build(kind, spec.use, spec.options)
        if kind == "teacher" and plugin.prompted:
            plugin.prompts = self.teacher_prompts
        return plugin

    @property
    def teacher_prompts(self) -> Prompts:
        """The built-in prompts, with this preset's own in their place."""
        own = {name: text for name, text in self.prompts.model_dump(exclude={"persona"}).items() if text}
        return Prompts(own, self.prompts.persona or "", self.answers.language or "")

    def exporter(self) -> Exporter:
        """The plugin that writes the tuned model for other programs."""
        spec = PluginSpec(use=self.export.use, name=self.name, llama_cpp_dir=self.export.llama_cpp_dir)
        exporter: Exporter = self.plugin("exporter", spec)
        return exporter

    def engine(self, name: str, **options: Any) -> Engine:
        """The plugin that runs model files of one format."""
        engine: Engine = self.plugin("engine", PluginSpec(use=name, **options))
        return engine

    def plugins(self) -> Iterator[tuple[str, str, PluginSpec]]:
        """(where in the preset, kind, spec) of every plugin this preset names."""
        for section in ("source", "teacher", "base", "trainer"):
            yield section, section, getattr(self, section)
        if self.verify.use != "none":
            yield "verify", "teacher", self.verify
        if self.evaluate.judge.use != "none":
            yield "evaluate.judge", "teacher", self.evaluate.judge
        yield "export", "exporter", PluginSpec(use=self.export.use)
        yield from ((f"gates[{i}]", "gate", spec) for i, spec in enumerate(self.gates))
        yield from ((f"evaluate.metrics[{i}]", "metric", spec) for i, spec in enumerate(self.evaluate.metrics))


def base_section(name: str) -> dict[str, str]:
    """The section that `base: NAME` stands for."""
    if name == "scratch":
        return {"use": "scratch"}
    if name.lower().endswith(".gguf") or name.startswith(("ollama:", "lmstudio:")):
        return {"use": "gguf", "file": name}
    return {"use": "hub", "repository": name}


def load(file: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """The preset in `file`, with `changes` ('section.key' > value) applied. Raises ConfigError."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{file}: cannot be read as YAML: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError([f"{file}: a preset is a mapping of sections, this is {type(raw).__name__}"])
    for dotted, value in (changes or {}).items():
        _put(raw, dotted, copy.deepcopy(value))  # a later change may go inside it; the caller's stays as it is
    return validate(raw)


def validate(raw: Mapping[str, Any]) -> Config:
    """`raw` as a Config, its plugins' options checked too. Raises ConfigError with every problem."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_sentence(e) for e in error.errors()]
        raise ConfigError([*problems, *_plugin_problems(_readable_plugins(raw))]) from None
    if problems := _plugin_problems(config.plugins()):
        raise ConfigError(problems)
    return config


def _plugin_problems(plugins: Iterable[tuple[str, str, PluginSpec]]) -> list[str]:
    return [
        f"{where}: {problem}" if problem.startswith("unknown") else f"{where}.{problem}"
        for where, kind, spec in plugins
        for problem in option_problems(kind, spec.use, spec.options)
    ]


def _readable_plugins(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, PluginSpec]]:
    """The plugins of a preset with other errors, as far as they can be recognized."""
    for section in ("source", "teacher", "base", "trainer"):
        value = raw.get(section)
        if isinstance(value, Mapping) and isinstance(value.get("use"), str):
            yield section, section, PluginSpec.model_validate(value)


def _put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `section.key` in place. `--set base=scratch` replaces a whole section."""
    *parents, last = dotted.split(".")
    place = raw
    for name in parents:
        inside = place.get(name)
        if isinstance(inside, str):  # `base: scratch`, then `--set base.steps=10`
            inside = base_section(inside) if name == "base" else {"use": inside}
        place[name] = inside if isinstance(inside, dict) else {}
        place = place[name]
    place[last] = value


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return (
            f"{where}: is missing"
            if error["type"] == "missing"
            else f"{where}: {_reason(error['msg'])}" + ("" if where in ADDRESSES else f" (got {error['input']!r})")
        )
    known = list(_fields_at(error["loc"][:-1]))
    return f"unknown key {where!r}{nearest(str(error['loc'][-1]), known)}"


def _reason(message: str) -> str:
    own = message.removeprefix("Value error, ")
    return own if own != message else own[:1].lower() + own[1:]  # the rest as it is: F16 is a name, f16 is none


def _fields_at(path: tuple[str | int, ...]) -> Mapping[str, Any]:
    model: Any = Config
    for part in path:
        model = model.model_fields[part].annotation
    fields: Mapping[str, Any] = model.model_fields
    return fields
