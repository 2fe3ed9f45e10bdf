"""
The shape of a preset. One section per stage; `deployments/presets/channel.yaml` shows every key.

Everything wrong with a preset is found at once: unknown keys (with the nearest valid one),
values out of range, plugins that do not exist, options their plugin does not know.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from understudy.errors import ConfigError
from understudy.registry import option_problems

FREE_GATES = (
    "length", "endings", "formatting", "mentions", "boilerplate", "instructions", "language", "duplicates"
)  # fmt: skip


class Settings(BaseModel):
    """Base of every section: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PluginSpec(BaseModel):
    """`use: NAME` plus that plugin's own options, which the plugin checks."""

    model_config = ConfigDict(frozen=True, extra="allow")
    use: str

    @property
    def options(self) -> dict[str, Any]:
        """Every key except `use`."""
        return self.model_extra or {}


class VerifySpec(PluginSpec):
    """The model that checks pairs against their talk, `use: none` for no check, and how much it checks."""

    use: str = "none"
    fraction: float = Field(default=1.0, gt=0, le=1, description="share of each talk's pairs that is verified")
    only_approved: bool = Field(default=False, description="refuse also what was not verified")
    max_repairs: int = Field(default=1, ge=0, description="rounds of asking again for missing verdicts")


class QuestionSettings(Settings):
    """How many questions a talk is asked for."""

    seconds_per_question: float = Field(default=90, gt=0, description="one question per this much talk")
    words_per_minute: float = Field(default=150, gt=0, description="to tell the length of a text without times")
    at_most: int = Field(default=60, ge=1, description="questions per talk, however long it is")


class AnswerSettings(Settings):
    """How the numbered questions of a talk are answered."""

    max_repairs: int = Field(default=5, ge=0, description="rounds of asking again for missing numbers")


class SplitSettings(Settings):
    """How kept pairs become train, valid and test. Whole talks go to one side."""

    valid: float = Field(default=0.1, ge=0, lt=1, description="share of the pairs")
    test: float = Field(default=0.1, ge=0, lt=1, description="share of the pairs")
    min_documents: int = Field(
        default=1, ge=1, description="talks that valid and test hold at least, each, while train keeps half"
    )
    near_duplicate: float = Field(default=0.7, gt=0, le=1, description="questions this alike stay on one side")

    @field_validator("test")
    @classmethod
    def _some_is_left(cls, test: float, info: ValidationInfo) -> float:
        if (valid := info.data.get("valid", 0.0)) + test >= 1:
            raise ValueError(f"with valid {valid} nothing is left for train; together they must be below 1")
        return test


class AugmentSettings(Settings):
    """What is added to the train side; all 0: nothing. Valid and test never change."""

    paraphrases: int = Field(default=0, ge=0, le=3, description="new questions per pair, with the answer as it is")
    short: float = Field(default=0, ge=0, le=1, description="share of the pairs that also get a short answer")
    long: float = Field(default=0, ge=0, le=1, description="share of the pairs that also get a long answer")
    out_of_scope: float = Field(
        default=0, ge=0, le=0.3, description="questions no talk answers, with an honest refusal, per pair"
    )
    replay: float = Field(
        default=0, ge=0, le=0.2, description="general chats answered by the base itself, per pair; 0.05 to 0.1 is usual"
    )

    @property
    def asks_teacher(self) -> bool:
        """True when something of it is written by the teacher, and costs what the teacher costs."""
        return bool(self.paraphrases or self.short or self.long or self.out_of_scope)

    @property
    def on(self) -> bool:
        """True when anything is added at all."""
        return self.asks_teacher or bool(self.replay)


class ExportSettings(Settings):
    """Which files are made of the tuned model."""

    use: str = Field(default="gguf", description="export format")
    types: list[str] = Field(default=["Q8_0", "Q4_K_M"], min_length=1, description="quantizations, beside f16")


class EvaluateSettings(Settings):
    """How base and tuned are compared on the held-out pairs."""

    questions: int = Field(default=100, ge=1, description="held-out questions each candidate answers")
    max_tokens: int = Field(default=400, ge=8, description="limit of one answer")
    metrics: list[PluginSpec] = Field(
        default=[PluginSpec(use="nll"), PluginSpec(use="formatting"), PluginSpec(use="degeneration")]
    )


class RunnerSettings(Settings):
    """Where the per-document tasks run."""

    use: Literal["threads"] = "threads"
    workers: int = Field(default=24, ge=1, le=200, description="talks worked on at once; as many as calls in flight")


class Config(Settings):
    """A whole preset."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the folder under data/ and models/")
    permission: Literal["owned", "permitted", "own_risk"] | None = Field(
        default=None, description="your right to the talks; asked for a channel, printed in every card"
    )
    licence: str | None = Field(default=None, description="of the dataset, in the words of the Hugging Face Hub")
    source: PluginSpec
    teacher: PluginSpec
    questions: QuestionSettings = QuestionSettings()
    answers: AnswerSettings = AnswerSettings()
    verify: VerifySpec = VerifySpec()
    gates: list[PluginSpec] = Field(
        default=[PluginSpec(use=name) for name in FREE_GATES], description="in this order; each pair needs all of them"
    )
    split: SplitSettings = SplitSettings()
    augment: AugmentSettings = AugmentSettings()
    formats: list[Literal["alpaca", "sharegpt", "openai_chat", "llama_factory", "huggingface"]] = Field(
        default=[], description="for other programs, beside train.jsonl and its sisters"
    )
    base: PluginSpec = Field(description="'scratch', a folder, or a Hugging Face repository")
    trainer: PluginSpec
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    runner: RunnerSettings = RunnerSettings()
    seed: int = Field(default=42, ge=0)

    @field_validator("base", mode="before")
    @classmethod
    def _base_by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"use": "scratch"} if value == "scratch" else {"use": "hub", "repository": value}
        return value

    def plugins(self) -> Iterator[tuple[str, str, PluginSpec]]:
        """(where in the preset, kind, spec) of every plugin this preset names."""
        for section in ("source", "teacher", "base", "trainer"):
            yield section, section, getattr(self, section)
        if self.verify.use != "none":
            yield "verify", "teacher", self.verify
        yield "export", "exporter", PluginSpec(use=self.export.use)
        yield from ((f"gates[{i}]", "gate", spec) for i, spec in enumerate(self.gates))
        yield from ((f"evaluate.metrics[{i}]", "metric", spec) for i, spec in enumerate(self.evaluate.metrics))


def load(file: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """The preset in `file`, with `changes` ('section.key' > value) applied. Raises ConfigError."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{file}: cannot be read as YAML: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError([f"{file}: a preset is a mapping of sections, this is {type(raw).__name__}"])
    for dotted, value in (changes or {}).items():
        _put(raw, dotted, value)
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
    """The plugins of a preset that is wrong elsewhere, as far as they can be made out."""
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
        if isinstance(inside, str):  # `base: scratch`, then `--set base.updates=10`
            inside = {"use": inside}
        place[name] = inside if isinstance(inside, dict) else {}
        place = place[name]
    place[last] = value


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return (
            f"{where}: is missing"
            if error["type"] == "missing"
            else f"{where}: {error['msg'].lower()} (got {error['input']!r})"
        )
    known = list(_fields_at(error["loc"][:-1]))
    return f"unknown key {where!r}{nearest(str(error['loc'][-1]), known)}"


def _fields_at(path: tuple[str | int, ...]) -> Mapping[str, Any]:
    model: Any = Config
    for part in path:
        model = model.model_fields[part].annotation
    return model.model_fields


def nearest(word: str, known: list[str]) -> str:
    """'; did you mean X?' or, where nothing is close, '; choose from ...'."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(sorted(known))}"
