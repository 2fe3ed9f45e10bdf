"""The sections of a preset, one per stage: what can be set, its limits and defaults, and what each means."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

FREE_GATES = (
    "length", "characters", "endings", "formatting", "repetition", "mentions", "boilerplate", "instructions",
    "language",
    "duplicates",
)  # fmt: skip
METRICS = ("nll", "formatting", "degeneration", "format_gap", "style", "copying")


PACKAGE = "package:"


def located(path: str | Path) -> Path:
    """`path`, or where a file of an installed package is, e.g. package:understudy.deployments/sample_channel.

    The package is looked up and never run.
    """
    if not str(path).startswith(PACKAGE):
        return Path(path)
    name, _, inside = str(path).removeprefix(PACKAGE).partition("/")
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) / inside if folders else Path(path)


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

    @property
    def on(self) -> bool:
        """False for `use: none`."""
        return self.use != "none"


class VerifySpec(PluginSpec):
    """The model that checks pairs against their talk, `use: none` for no check, and how much it checks."""

    use: str = "none"
    fraction: float = Field(default=1.0, gt=0, le=1, description="share of each talk's pairs that is verified")
    only_approved: bool = Field(default=False, description="also refuse pairs that were not verified")
    max_repairs: int = Field(default=1, ge=0, description="further rounds for missing verdicts")


class QuestionSettings(Settings):
    """How many questions are requested per talk."""

    seconds_per_question: float = Field(default=90, gt=0, description="one question per this much talk")
    words_per_minute: float = Field(default=150, gt=0, description="to estimate the length of a text without times")
    at_most: int = Field(default=60, ge=1, description="questions per talk, however long it is")
    per_unit: int | None = Field(
        default=None,
        ge=1,
        description="questions about every section, whatever its length; None: as the lengths give",
        exclude_if=lambda value: value is None,
    )
    target_pairs: int | None = Field(
        default=None,
        ge=1,
        description="accepted pairs to aim at: talks with room are asked further questions; None: as the lengths give",
        exclude_if=lambda value: value is None,
    )


class AnswerSettings(Settings):
    """How the numbered questions of a talk are answered."""

    max_repairs: int = Field(default=5, ge=0, description="further rounds for missing numbers")
    per_call: int | None = Field(
        default=None,
        ge=1,
        description="questions answered in one call; None: all of a talk, or as many as the model's limits allow",
        exclude_if=lambda value: value is None,  # so that it leaves answers fresh that were written without it
    )
    language: str | None = Field(
        default=None,
        min_length=2,
        description="of questions and answers, e.g. German; None: the talk's own",
        exclude_if=lambda value: value is None,
    )


class PromptSettings(Settings):
    """A preset's own words to the teacher. A value is the text, or a file of it (.md, .txt)."""

    persona: str | None = Field(default=None, description="who the teacher is: joins the built-in system text")
    system: str | None = Field(default=None, description="in place of the built-in system text")
    talk: str | None = Field(default=None, description="how a talk is shown; {nonce} {title} {language} {paragraphs}")
    questions: str | None = Field(default=None, description="what pass 1 asks; {count}")
    answers: str | None = Field(default=None, description="what pass 2 asks; {questions}")
    augment: str | None = Field(default=None, description="{nonce} {titles} {pairs} {tasks}")
    verify: str | None = Field(default=None, description="{pairs} {nonce}")
    judge: str | None = Field(default=None, description="the judge's whole instruction")
    grade: str | None = Field(default=None, description="expert: how a judge marks single answers, whole")
    compose: str | None = Field(default=None, description="grounded: what is asked of two texts; {tasks}")
    unanswered: str | None = Field(default=None, description="grounded: the check of refusals; {items} {nonce}")

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, str) or "\n" in value or not value.endswith((".md", ".txt")):
            return value
        try:
            return Path(value).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{value} cannot be read as UTF-8 text: {error}") from None


class SplitSettings(Settings):
    """How kept pairs become train, valid and test. Whole talks go to one split."""

    valid: float = Field(default=0.1, ge=0, lt=1, description="share of the pairs")
    test: float = Field(default=0.1, ge=0, lt=1, description="share of the pairs")
    min_documents: int = Field(
        default=1, ge=1, description="least number of talks in valid and in test, while train keeps half"
    )
    near_duplicate: float = Field(default=0.7, gt=0, le=1, description="questions this similar stay in one split")
    questions: float = Field(
        default=0,
        ge=0,
        lt=0.5,
        description="share of the questions about trained sections that is held out too; expert: 0.1",
        exclude_if=lambda value: not value,
    )

    @field_validator("test")
    @classmethod
    def _some_is_left(cls, test: float, info: ValidationInfo) -> float:
        if (valid := info.data.get("valid", 0.0)) + test >= 1:
            raise ValueError(f"with valid {valid} nothing is left for train; together they must be below 1")
        return test


class AugmentSettings(Settings):
    """What is added to the train split; all 0: nothing. Valid and test never change."""

    paraphrases: int = Field(default=0, ge=0, le=3, description="new questions per pair, with the same answer")
    registers: float = Field(
        default=0, ge=0, le=1, description="share of the pairs that are also asked formally, and in everyday words"
    )
    parts: float = Field(
        default=0, ge=0, le=1, description="share of the long answers of which one part also gets a question of its own"
    )
    short: float = Field(default=0, ge=0, le=1, description="share of the pairs that also get a short answer")
    long: float = Field(default=0, ge=0, le=1, description="share of the pairs that also get a long answer")
    out_of_scope: float = Field(
        default=0, ge=0, le=0.3, description="questions that no talk answers, with a refusal, per pair"
    )
    replay: float = Field(
        default=0, ge=0, le=0.2, description="general chats answered by the base itself, per pair; 0.05 to 0.1 is usual"
    )

    @property
    def asks_teacher(self) -> bool:
        """True when something of it is written by the teacher, and costs what the teacher costs."""
        return bool(self.paraphrases or self.registers or self.parts or self.short or self.long or self.out_of_scope)

    @property
    def on(self) -> bool:
        """True when anything is added at all."""
        return self.asks_teacher or bool(self.replay)


class ParityLimit(Settings):
    """How much a file may differ from the one it was made from, on held-out answers."""

    nll_change: float = Field(gt=0, description="nats per answer token, either way")
    kl: float = Field(gt=0, description="mean KL divergence per answer token, in nats")
    top1_agreement: float = Field(ge=0, le=1, description="least share of tokens whose most probable one is the same")


class LimitSettings(Settings):
    """When a file is refused. Beside the anchors of llama.cpp's own tables there is room for small models.

    Measured on SmolLM2-135M-Instruct, tuned: KL of F16 2e-6, of Q8_0 0.004 with 96 % the same top-1, of Q4_K_M 0.05
    with 86 % and a loss higher by 0.068 (most of its tensors fall back to Q5_0, since 576 is no multiple of 256).
    """

    fused: ParityLimit = ParityLimit(nll_change=0.01, kl=0.01, top1_agreement=0.97)
    f16: ParityLimit = ParityLimit(nll_change=0.02, kl=0.01, top1_agreement=0.97)
    q8: ParityLimit = ParityLimit(nll_change=0.02, kl=0.01, top1_agreement=0.95)
    q6: ParityLimit = ParityLimit(nll_change=0.02, kl=0.05, top1_agreement=0.92)
    q5: ParityLimit = ParityLimit(nll_change=0.05, kl=0.05, top1_agreement=0.9)
    q4: ParityLimit = ParityLimit(nll_change=0.1, kl=0.15, top1_agreement=0.8)
    q3: ParityLimit = ParityLimit(nll_change=0.1, kl=0.3, top1_agreement=0.75)
    q2: ParityLimit = ParityLimit(nll_change=0.2, kl=0.5, top1_agreement=0.6)
    ended_drop: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="how many fewer answers may end on their own than with the adapter, as a share",
    )
    leaks: float = Field(default=0.0, ge=0, le=1, description="share of answers with think tags, roles, control tokens")

    @field_validator("*", mode="before")
    @classmethod
    def _the_rest_by_default(cls, value: Any, info: ValidationInfo) -> Any:
        usual = cls.model_fields[str(info.field_name)].default
        return usual.model_dump() | value if isinstance(value, dict) and isinstance(usual, ParityLimit) else value


def _off(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


Switch = Annotated[Literal["off", "auto"], BeforeValidator(_off)]


class TuneSettings(Settings):
    """Short trainings at several learning rates before the real one, to choose by their valid loss."""

    trials: Literal[0, 3] = Field(default=0, description="3: at 1, 3 and 9 times the learning rate; 0: none")
    epochs: float = Field(default=0.25, gt=0, le=1, description="of each trial")
    min_steps: int = Field(default=30, ge=1, description="of each trial, if the training itself has that many")


class ExportSettings(Settings):
    """Which files are made from the tuned model."""

    use: str = Field(default="gguf", description="export format")
    types: list[str] = Field(default=["Q8_0", "Q4_K_M"], description="quantizations, beside the first file")
    first: Literal["F16", "BF16", "Q8_0"] = Field(
        default="F16", validate_default=True, description="the file the quantizations are made from"
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="when a file is refused")
    importance: bool = Field(default=False, description="quantize with an importance matrix, measured on train rows")
    ollama: Switch = Field(default="off", description="auto: create the model in Ollama where that is installed")
    lm_studio: Switch = Field(default="off", description="auto: put the file where LM Studio looks, if it is installed")
    llama_cpp_dir: Path | None = Field(
        default=None,
        description="folder of llama.cpp, whose converter writes the families that this project cannot; None: the one "
        "that `make converter` installs, where it is",
    )

    @field_validator("first")
    @classmethod
    def _types_can_be_made_of_it(cls, first: str, info: ValidationInfo) -> str:
        types = info.data.get("types", [])
        if first in types:
            raise ValueError(f"the first file is {first} already; take {first} out of types")
        if first == "Q8_0" and types:
            raise ValueError(f"{', '.join(types)} cannot be made of Q8_0 weights; set first: F16, or types: []")
        return first


class Prices(Settings):
    """Of an API, in USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class EvaluateSettings(Settings):
    """How base and tuned are compared on the held-out pairs."""

    questions: int = Field(
        default=100, ge=1, description="held-out questions each candidate answers, of all talks in turn"
    )
    max_tokens: int = Field(default=400, ge=8, description="limit of one answer")
    metrics: list[PluginSpec] = Field(
        default=[PluginSpec(use=name) for name in METRICS], description="in this order; left out: those of the recipe"
    )
    judge: PluginSpec = Field(
        default=PluginSpec(use="none"), description="a teacher that compares blind; of another family than the teacher"
    )
    retrieval: Path | None = Field(
        default=None,
        description="JSONL of questions with texts to answer from; see understudy.scoring.suites.retrieval",
    )
    suites: Literal["quick"] | bool = Field(
        default=True, description="also instructions, multiple choice, off-topic prompts; quick: every fourth"
    )
    prompted_base: bool = Field(default=True, description="also compare with the base shown the style by examples")
    against_retrieval: bool = Field(
        default=True,
        description="expert: base and tuned also answer with passages from an index of all sections",
        exclude_if=bool,
    )
    api: Prices | None = Field(
        default=None,
        description="expert: what an API would take for the same tokens, for the table of costs",
        exclude_if=lambda value: value is None,
    )
    quantized_base: bool = Field(
        default=True, description="also compare the smallest file that is offered with the base at the same type"
    )


class SyncSettings(Settings):
    """What the scheduled run does with new and with removed talks."""

    min_new_pairs: int = Field(
        default=50, ge=1, description="train again at this many new rows in train since the last training"
    )
    forget_removed: bool = Field(
        default=False, description="delete a talk and everything made from it once its source no longer has it"
    )


class PublishSettings(Settings):
    """What the model card says that cannot be known from the run. Publishing itself is confirmed each time."""

    base_licence: str | None = Field(default=None, description="of the base, as the Hub names it, e.g. apache-2.0")
    dataset: str | None = Field(default=None, description="'owner/name' of the dataset on the Hub, where it is there")


class MachineSettings(Settings):
    """The machine that trains: what it costs, and where it is when it is not this one.

    No price is guessed, and nothing is made again for any of this.
    """

    usd_per_hour: float | None = Field(default=None, ge=0, description="of a rented machine")
    watts: float | None = Field(default=None, gt=0, description="that it draws at work, as measured or on its label")
    usd_per_kwh: float | None = Field(default=None, ge=0, description="of electricity")
    pool: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="work pool of another machine, which trains; None: this one",
    )
    place: str | None = Field(
        default=None,
        description="s3://bucket/path or file:///folder that it reaches, too, for rows and adapter; None: `remote`",
    )
    wait_minutes: float = Field(
        default=15, ge=0, description="without any worker in the pool, after which a run gives up; nothing is lost"
    )
    checkpoint_minutes: float = Field(
        default=5, ge=0, description="between two copies of the checkpoint to `place`, at least"
    )

    @property
    def prices(self) -> dict[str, float | None]:
        """What decides the tables of costs."""
        return {"usd_per_hour": self.usd_per_hour, "watts": self.watts, "usd_per_kwh": self.usd_per_kwh}


class RunnerSettings(Settings):
    """Where the per-document tasks run."""

    use: Literal["threads", "dask"] = "threads"
    workers: int = Field(
        default=24, ge=1, le=200, description="talks worked on at once, in each process; as many as calls in flight"
    )
    processes: int = Field(default=2, ge=1, le=64, description="dask: worker processes started on this machine")
    address: str | None = Field(
        default=None,
        pattern=r"^(tcp|tls|ucx|ws|wss)://[^\s/]+:[0-9]+$",
        description="dask: a running scheduler, which requires `ledger` in PostgreSQL; None: one is started",
    )
