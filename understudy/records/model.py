"""What is known of a base, an adapter, the merged model and its files, and how they came to be."""

from typing import Any

from pydantic import Field

from understudy.records.base import AssetRef, DatasetRefs, Record


class BaseCard(Record):
    """The start weights in a Hugging Face folder. Written by `prepare_base`."""

    name: str = Field(description="'scratch' or the repository they come from")
    architecture: str = Field(description="model_type of config.json")
    parameters: int
    quantized: bool = False
    notes: dict[str, float | int | str] = Field(default={}, description="for a scratch base: steps, losses, seconds")


class AdapterCard(Record):
    """The LoRA weights and how they came to be. Written by `train`."""

    trainable_parameters: int
    steps: int
    iterations: int
    epochs: float = Field(description="passes over train that were made")
    stopped_early: bool
    best_iteration: int
    base_valid_loss: float = Field(description="valid loss before the first step, nats per answer token")
    best_valid_loss: float
    longest_row: int = Field(description="in tokens, of the rows trained on")
    padding_share: float = Field(ge=0, lt=1, description="of the tokens that went through the model")
    tokens_per_second: float = Field(description="target tokens, over the time of the steps")
    overhead_share: float = Field(ge=0, description="of the time that metrics, samples and checkpoints took")
    peak_memory_bytes: int
    memory_plan: str = Field(default="", description="how it was made to fit the memory, in one sentence")
    predicted_memory_bytes: int | None = Field(default=None, description="estimated peak of a step")
    measured_memory_bytes: int | None = Field(default=None, description="what one on the longest batch took")
    memory_limit_bytes: int | None = Field(default=None, description="what training might take")
    checkpointing: bool = Field(default=False, description="activations were computed twice")
    eager: bool = Field(default=False, description="on a processor: by numpy where mlx is slow, with more memory")
    dtype: str | None = Field(default=None, description="of what torch computed; None where mlx trained")
    device: str | None = Field(default=None, description="where torch computed: cuda, mps or cpu")
    base_bits: int | None = Field(default=None, description="the base was quantized to these; None: it stayed as it is")
    world_size: int = Field(default=1, ge=1, description="processes that shared every batch")
    seconds: float
    rented_seconds: float | None = Field(
        default=None, description="for which another machine worked on it, broken attempts included; None: none did"
    )
    settings: dict[str, float | int | str | bool | None] = Field(
        description="of the preset, and what the data made of them"
    )


class TrialCard(Record):
    """A short training at one strength, to choose by. Written by `tune`."""

    learning_rate: float
    strength: float | None = Field(description="learning rate x alpha; None where the trainer has no alpha")
    steps: int = Field(ge=0, description="that were made before it ended or diverged")
    base_valid_loss: float | None = None
    valid_losses: list[tuple[int, float]] = Field(default=[], description="(iteration, valid loss), in order")
    dropped: str | None = Field(default=None, description="why it cannot be chosen; None when it can")
    seconds: float = Field(ge=0)

    @property
    def valid_loss(self) -> float | None:
        """The last one."""
        return self.valid_losses[-1][1] if self.valid_losses else None


class Host(Record):
    """The machine a run was made on, without its name, its user's or a path."""

    system: str
    machine: str
    chip: str | None
    cores: int
    memory_bytes: int


class RunRecord(Record):
    """All it takes to make an adapter once more, and what came of it the first time. Written by `train`."""

    format: int = Field(default=1, description="of this file; a reader refuses a higher one than it knows")
    channel: str
    run: str
    began: str = Field(description="UTC, to the second")
    command: str
    commit: str | None = Field(description="of this project; None where it is no git checkout")
    dirty: bool | None = Field(description="whether files differed from that commit")
    python: str
    packages: dict[str, str]
    host: Host
    base: AssetRef
    base_name: str
    base_revision: str | None = None
    dataset: DatasetRefs
    dataset_fingerprint: str = Field(description="digest of the sha256 of train, valid and test")
    settings: dict[str, Any] = Field(description="the whole preset; the options of its plugins filled in")
    trainer_version: int
    seed: int
    trials: list[TrialCard] = Field(default=[], description="that chose the settings, lowest learning rate first")
    fingerprint: str = Field(description="of the adapter")
    weights_sha256: str = Field(description="of the adapter's weights, as kept")
    result: AdapterCard


class FusedCard(Record):
    """Base and adapter merged, as a Hugging Face folder. Written by `fuse`."""

    architecture: str
    parameters: int
    changed_share: float = Field(ge=0, le=1, description="share of the weights that differ from the base's")
    dequantized: bool = Field(default=False, description="the base's weights were quantized, and are not any more")
    template_changed: bool = Field(default=False, description="thinking was switched off, or the date pinned, in it")


class GgufCard(Record):
    """One GGUF file that was loaded and has answered a question. Written by `convert` and `quantize`."""

    type: str = Field(description="F16, Q8_0, Q4_K_M, ...")
    tensor_types: dict[str, int] = Field(description="how many tensors of each type the file really holds")
    bits_per_weight: float
    bytes: int = Field(default=0, ge=0)
    fallbacks: list[str] = Field(default=[], description="which tensors are of another type than wanted, and why")
    template: "TemplateCheck | None" = Field(default=None, description="of the first file; the others copy its words")
    question: str = Field(description="the held-out question it answered")
    answer: str = Field(description="the first tokens of its answer")


class TemplateCheck(Record):
    """How a file renders conversations, beside how training rendered them. Written by `convert`."""

    family: str | None = Field(description="whose TEMPLATE a Modelfile may have; None: it must have none")
    stops: list[str] = Field(description="the text of every end token in the file")
    differences: list[str] = Field(default=[], description="one sentence each; a file with any is refused")


class LoraFileCard(Record):
    """The adapter alone as a GGUF file. Written by `convert`."""

    tensors: int = Field(ge=1, description="two for each adapted matrix")
    bytes: int


class ImportanceCard(Record):
    """The mean square of what goes into each matrix, over talks of the train split. Written by `importance`."""

    rows: int = Field(ge=1, description="train rows that were read")
    tokens: int
    tensors: int
