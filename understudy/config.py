"""
The schema of a preset: one section per stage. `deployments/presets/documents.yaml` shows every key.

All problems of a preset are reported at once: unknown keys (with the nearest valid one),
values out of range, plugins that do not exist, options their plugin does not know.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from understudy import registry
from understudy.calls.prompting import RECIPES, Prompts
from understudy.errors import ConfigError
from understudy.interfaces import Engine, Exporter, Recipe
from understudy.registry import nearest, option_problems
from understudy.retrieval.sections import Reading
from understudy.sections import (
    FREE_GATES,
    AnswerSettings,
    AugmentSettings,
    EvaluateSettings,
    ExportSettings,
    MachineSettings,
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
    located,
)
from understudy.text.words import slug

DEMO = "package:understudy.deployments/presets/demo.yaml"
"""Whose sections a preset gets that leaves out its own."""
ADDRESSES = ("ledger", "remote")
"""Keys whose wrong values are not repeated in messages: they may contain a password."""


class Config(Settings):
    """A whole preset."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the folder under data/ and models/")
    permission: Literal["owned", "permitted", "public_domain", "own_risk"] | None = Field(
        default=None, description="your right to the talks; required for a channel, printed in every card"
    )
    licence: str | None = Field(default=None, description="of the dataset, as the Hugging Face Hub names it")
    sources: list[PluginSpec] = Field(
        default=[], description="in place of source, for one teacher in several places; add new ones at the end"
    )
    recipe: PluginSpec = Field(
        default=PluginSpec(use="teach"),
        description="what the pairs are for: teach (manner), expert (manuals), grounded (given texts)",
    )
    source: PluginSpec
    teacher: PluginSpec
    max_usd: float | None = Field(
        default=None,
        ge=0,
        description="the most that teacher, verifier, variants and judge may cost together; each has its own, too",
    )
    prompts: PromptSettings = PromptSettings()
    questions: QuestionSettings = QuestionSettings()
    answers: AnswerSettings = AnswerSettings()
    verify: VerifySpec = VerifySpec()
    gates: list[PluginSpec] = Field(
        default=[PluginSpec(use=name) for name in FREE_GATES],
        description="in this order; a pair must pass all of them; left out: those of the recipe",
    )
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    formats: list[Literal["alpaca", "sharegpt", "openai_chat", "llama_factory", "axolotl", "huggingface"]] = Field(
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
    machine: MachineSettings = MachineSettings()
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

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, raw: Any) -> Any:
        raw = _one_source_a_path(raw)
        several = raw.get("sources") if isinstance(raw, Mapping) else None
        return {"source": several[0], **raw} if isinstance(several, list) and several else raw

    @model_validator(mode="before")
    @classmethod
    def _as_the_recipe_wants(cls, raw: Any) -> Any:
        """Gates and metrics of the recipe where the preset lists none, with what it settles, such as the form."""
        if not isinstance(raw, Mapping):
            return raw
        try:
            spec = raw.get("recipe") or "teach"
            spec = PluginSpec.model_validate({"use": spec} if isinstance(spec, str) else spec)
            recipe: Recipe = registry.build("recipe", spec.use, spec.options)
        except (ValidationError, ConfigError):
            return raw  # which is said with the other problems
        for section, usual in recipe.DEFAULTS.items():
            given = raw.get(section) or {}
            if isinstance(given, Mapping):
                raw = {**raw, section: {**usual, **given}}
        evaluate = raw.get("evaluate") or {}
        if isinstance(evaluate, Mapping):
            evaluate = {**evaluate, "metrics": _by_recipe("metric", evaluate.get("metrics"), recipe)}
        return {**raw, "gates": _by_recipe("gate", raw.get("gates"), recipe), "evaluate": evaluate}

    @field_validator("recipe", "source", "teacher", "verify", "trainer", mode="before")
    @classmethod
    def _plugin_by_name(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _no_other_than_the_first(cls, source: PluginSpec, info: ValidationInfo) -> PluginSpec:
        if (several := info.data.get("sources")) and source != several[0]:
            raise ValueError("the preset has sources, the first of which it would be; change them there")
        return source

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
        """The recipe's prompts, with this preset's own in their place."""
        own = {name: text for name, text in self.prompts.model_dump(exclude={"persona"}).items() if text}
        built_in = Prompts(own, self.prompts.persona or "", self.answers.language or "")
        recipe: Recipe = self.plugin("recipe")
        if self.recipe.use == "teach":
            return replace(built_in, prose=recipe.form == "prose")
        folder = RECIPES / self.recipe.use / "prompts"
        return replace(built_in, folder=folder, fixed=recipe.prompt_values())

    @property
    def reading(self) -> Reading | None:
        """How manuals are cut into sections; None where talks are read whole."""
        options = self.plugin("recipe").options
        return getattr(options, "read", None)

    @property
    def composes(self) -> bool:
        """Whether rows are composed of pairs and passages after the split."""
        return bool(registry.resolve("recipe", self.recipe.use).composes)

    @property
    def closed_book(self) -> bool:
        """Whether questions are about manuals, and answered by heart."""
        return bool(registry.resolve("recipe", self.recipe.use).closed_book)

    @property
    def seeks_contradictions(self) -> bool:
        """Whether the verifier looks for sections of manuals that contradict each other."""
        return self.closed_book and self.verify.on and bool(self.plugin("recipe").options.contradictions)

    @property
    def against_retrieval(self) -> bool:
        """Whether base and tuned also answer with passages."""
        return self.evaluate.against_retrieval and self.closed_book

    @property
    def marks_answers(self) -> bool:
        """Whether a judge marks single answers as right or wrong."""
        return self.evaluate.judge.on and self.against_retrieval

    def exporter(self) -> Exporter:
        """The plugin that writes the tuned model for other programs."""
        spec = PluginSpec(use=self.export.use, name=self.name, llama_cpp_dir=self.export.llama_cpp_dir)
        exporter: Exporter = self.plugin("exporter", spec)
        return exporter

    def engine(self, name: str, **options: Any) -> Engine:
        """The plugin that runs model files of one format."""
        engine: Engine = self.plugin("engine", PluginSpec(use=name, **options))
        return engine

    @property
    def sources_by_key(self) -> dict[str, PluginSpec]:
        """Where the talks come from, in order; the key of the first, or the only one, is ''."""
        first, *others = self.sources or [self.source]
        return {"": first} | {registry.source_key(spec.use, spec.options): spec for spec in others}

    def plugins(self) -> Iterator[tuple[str, str, PluginSpec]]:
        """(where in the preset, kind, spec) of every plugin this preset names."""
        for section in ("recipe", "source", "teacher", "base", "trainer"):
            yield section, section, getattr(self, section)
        yield from ((f"sources[{i}]", "source", spec) for i, spec in enumerate(self.sources[1:], 1))
        if self.verify.use != "none":
            yield "verify", "teacher", self.verify
        if self.evaluate.judge.use != "none":
            yield "evaluate.judge", "teacher", self.evaluate.judge
        yield "export", "exporter", PluginSpec(use=self.export.use)
        yield from ((f"gates[{i}]", "gate", spec) for i, spec in enumerate(self.gates))
        yield from ((f"evaluate.metrics[{i}]", "metric", spec) for i, spec in enumerate(self.evaluate.metrics))


def _one_source_a_path(raw: Any) -> Any:
    """`raw` with `source: {path: [one, another]}` as two sources that have all else in common."""
    source = raw.get("source") if isinstance(raw, Mapping) else None
    paths = source.get("path") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or not isinstance(paths, list) or not paths or raw.get("sources"):
        return raw
    return {key: value for key, value in raw.items() if key != "source"} | {
        "sources": [{**source, "path": path} for path in paths]
    }


def _by_recipe(kind: str, listed: Any, recipe: Recipe) -> Any:
    """The plugins of a preset, or the recipe's own; with what the recipe settles for those that know such an option."""
    if listed is not None and not isinstance(listed, list):
        return listed
    usual = {"gate": recipe.GATES, "metric": recipe.METRICS}[kind]
    specs = [{"use": one} if isinstance(one, str) else one for one in (usual if listed is None else listed)]
    settled = recipe.settled()
    if not settled:
        return specs
    plain = [one.model_dump() if isinstance(one, PluginSpec) else one for one in specs]
    return [
        {**{key: settled[key] for key in _known(kind, one, settled)}, **one} if isinstance(one, Mapping) else one
        for one in plain  # what is no mapping is said with the other problems
    ]


def _known(kind: str, spec: Any, options: Iterable[str]) -> list[str]:
    """Those of `options` that the plugin has which `spec` names."""
    name = spec.get("use") if isinstance(spec, Mapping) else None
    if name not in registry.PLUGINS[kind]:
        return []
    fields = registry.resolve(kind, str(name)).Options.model_fields
    return [option for option in options if option in fields]


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
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise ConfigError([f"{file}: a preset is a mapping of sections, this is {type(raw).__name__}"])
    return _with(raw, changes or {}, slug(file.stem) if raw else "")


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """`config` with `changes` ('section.key' > value) applied. Raises ConfigError."""
    raw = config.model_dump(mode="json", exclude_unset=True)
    if any(key.partition(".")[0] == "recipe" for key in changes):
        recipe: Recipe = config.plugin("recipe")
        if raw.get("gates") == _by_recipe("gate", None, recipe):
            del raw["gates"]
        if raw.get("evaluate", {}).get("metrics") == _by_recipe("metric", None, recipe):
            del raw["evaluate"]["metrics"]
        for section, usual in recipe.DEFAULTS.items():
            kept = {key: value for key, value in raw[section].items() if usual.get(key) != value}
            raw[section] = kept
    return _with(raw, changes, config.name)


def _with(raw: dict[str, Any], changes: Mapping[str, Any], name: str) -> Config:
    if changes.get("sources"):  # in place of what the preset has, and the other way round
        raw.pop("source", None)
    elif "source" in changes or "source.use" in changes:
        raw.pop("sources", None)
    for dotted, value in sorted(changes.items(), key=_options_last):
        for place, key in _places(raw, dotted):
            _put(place, key, copy.deepcopy(value))  # a later change may go inside it; the caller's stays as it is
    return validate(_completed(raw, name))


def _places(raw: dict[str, Any], dotted: str) -> list[tuple[dict[str, Any], str]]:
    """Where a change goes: an option of the source to each of several that has it."""
    section, _, option = dotted.partition(".")
    several = raw.get("sources")
    if section != "source" or option in ("", "use") or not several:
        return [(raw, dotted)]
    named = [one for one in several if isinstance(one, dict) and isinstance(one.get("use"), str)]
    kinds = [registry.resolve("source", one["use"]).Options.model_fields for one in named]
    places = [(one, option) for one, known in zip(named, kinds, strict=True) if option.partition(".")[0] in known]
    if places:
        raw["source"] = several[0]
    return places or [(raw, dotted)]


def _options_last(change: tuple[str, Any]) -> int:
    """Whole sections and the choice of a plugin come before that plugin's options, in whatever order they are typed."""
    return 0 if "." not in change[0] else 1 if change[0].endswith(".use") else 2


def _completed(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """`raw` with the sections that it leaves out: the demo's where it has no talks of its own, else free ones."""
    demo: dict[str, Any] = yaml.safe_load(located(DEMO).read_text(encoding="utf-8"))
    if not raw.keys() - {"name", "permission"}:
        return demo | raw
    sections = {"name": name or demo["name"], "teacher": {"use": "auto"}, "trainer": {"use": "mlx_lora"}}
    if not raw.get("source") and not raw.get("sources"):
        sections |= {key: demo[key] for key in ("permission", "source", "teacher", "questions", "split")}
    if "base" not in raw:
        sections["base"] = demo["base"]
    for section, usual in sections.items():
        given = raw.setdefault(section, usual)
        if isinstance(given, dict) and isinstance(usual, dict) and "use" in usual:
            given.setdefault("use", usual["use"])
    return raw


def validate(raw: Mapping[str, Any]) -> Config:
    """`raw` as a Config, its plugins' options checked too. Raises ConfigError with every problem."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems, plugins = [_sentence(e) for e in error.errors()], list(_readable_plugins(_one_source_a_path(raw)))
        raise ConfigError([*problems, *_plugin_problems(plugins), *_unusable(plugins)]) from None
    if problems := _plugin_problems(config.plugins()):
        raise ConfigError([*problems, *_unusable(config.plugins())])
    return config


def _plugin_problems(plugins: Iterable[tuple[str, str, PluginSpec]]) -> list[str]:
    return [
        f"{where}: {problem}" if problem.startswith("unknown") else f"{where}.{problem}"
        for where, kind, spec in plugins
        for problem in option_problems(kind, spec.use, spec.options)
    ]


def _unusable(plugins: Iterable[tuple[str, str, PluginSpec]]) -> list[str]:
    """What else stops the run, where something is wrong already: talks and base that are not there."""
    return [
        problem
        for where, kind, spec in plugins
        if where.startswith(("source", "base")) and not option_problems(kind, spec.use, spec.options)
        for problem in registry.build(kind, spec.use, spec.options).problems()
    ]


def _readable_plugins(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, PluginSpec]]:
    """The plugins of a preset with other errors, as far as they can be recognized."""
    evaluate = raw.get("evaluate")
    inside: Mapping[str, Any] = evaluate if isinstance(evaluate, Mapping) else {}
    sections = [(name, name, raw.get(name)) for name in ("recipe", "source", "teacher", "base", "trainer")]
    sections += [("verify", "teacher", raw.get("verify")), ("evaluate.judge", "teacher", inside.get("judge"))]
    for where, kind, several in (
        ("sources", "source", raw.get("sources")),
        ("gates", "gate", raw.get("gates")),
        ("evaluate.metrics", "metric", inside.get("metrics")),
    ):
        sections += [(f"{where}[{i}]", kind, one) for i, one in enumerate(several if isinstance(several, list) else [])]
    for where, kind, value in sections:
        spec = base_section(value) if kind == "base" and isinstance(value, str) else value
        if isinstance(spec, Mapping) and isinstance(spec.get("use"), str) and spec["use"] != "none":
            known = VerifySpec if where == "verify" else PluginSpec
            with suppress(ValidationError):  # which is among the problems already
                yield where, kind, known.model_validate(spec)


def _put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `section.key` in place. `--set base=scratch` replaces a whole section; so does another plugin's name."""
    *parents, last = dotted.split(".")
    place = raw
    for name in parents:
        inside = place.get(name)
        if isinstance(inside, str):  # `base: scratch`, then `--set base.steps=10`
            inside = base_section(inside) if name == "base" else {"use": inside}
        place[name] = inside if isinstance(inside, dict) else {}
        place = place[name]
    if last == "use" and place.get("use", value) != value:
        place.clear()  # the options of one plugin mean nothing to another
    place[last] = value


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if where == "name" and error["type"] == "string_pattern_mismatch":
        better = slug(str(error["input"]))[:60] or "my-talks"
        return f"name: {error['input']!r} is not lower-case letters, digits and hyphens; take --set name={better}"
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
