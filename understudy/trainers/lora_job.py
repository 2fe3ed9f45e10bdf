"""What a LoRA training is asked to do and what comes of it: the records of the trainer and its worker. No mlx here."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from understudy.records import AdapterCard, Record

LOCAL = ("127.0.0.1", "localhost")
PROCESSES = ".processes"
"""Folder of a run that several processes share: what all but the first write, of no use afterwards."""


def _bare(value: Any) -> Any:
    """YAML reads a bare `on` as true and `off` as false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class LoraOptions(BaseModel):
    """How the adapter is shaped and how it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=8, ge=1, description="width of the adapter; 16 from about 3,000 pairs")
    alpha: float = Field(default=16.0, gt=0, description="the adapter is multiplied by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of inputs the adapter does not see")
    num_layers: int | None = Field(default=None, ge=1, description="blocks from the top that are adapted; all")
    target_modules: list[str] | None = Field(
        default=None, min_length=1, description="layers inside a block, e.g. [self_attn.q_proj]; all"
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="highest rate, reached after the warmup")
    lr_scheduler: Literal["cosine", "linear"] = Field(default="cosine", description="how the rate falls to 0")
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    epochs: float = Field(default=3, gt=0, description="passes over train, at most: it stops early")
    batch_size: int = Field(default=4, ge=1, description="rows per iteration, at most")
    batch_tokens: int = Field(default=4096, ge=32, description="tokens per iteration, at most: it bounds the memory")
    gradient_accumulation_steps: int = Field(default=1, ge=1, description="iterations per optimizer step")
    weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")
    max_grad_norm: float = Field(default=1.0, gt=0, description="largest norm of all gradients together")
    max_seq_length: int = Field(default=2048, ge=32, description="rows of more tokens are left out and listed")
    evaluations_per_epoch: int = Field(default=4, ge=1, description="losses on the whole valid set per epoch")
    tolerance: float = Field(
        default=0.0, ge=0, description="nats: later weights this close to the lowest valid loss are kept instead"
    )
    patience: int = Field(default=2, ge=1, description="evaluations without a better loss before it stops")
    save_every: int | None = Field(
        default=None, ge=1, description="steps between numbered checkpoints, which are all kept; none"
    )
    sample_tokens: int = Field(
        default=48,
        ge=0,
        description="longest answer to three prompts after training, in a long one before and on the way; 0: none",
    )
    memory: Annotated[Literal["auto", "off"], BeforeValidator(_bare)] = Field(
        default="auto", description="auto: estimated, measured and made to fit; off: as it is set here"
    )
    memory_limit_gb: float | None = Field(
        default=None, gt=0, description="what training may take; what the machine gives when left out"
    )
    grad_checkpoint: Annotated[Literal["auto", "on", "off"], BeforeValidator(_bare)] = Field(
        default="auto", description="activations are computed twice to save memory; auto: when needed"
    )
    base_bits: Literal["auto", 16, 8, 4] = Field(
        default="auto", description="of the base's weights while training; auto: fewer when needed"
    )
    hosts: list[str] | None = Field(
        default=None, min_length=1, description="a process on each shares every batch, e.g. [127.0.0.1, 127.0.0.1]"
    )
    hostfile: str | None = Field(default=None, description="the same as a file of mlx.launch, with addresses")
    backend: Literal["ring", "mpi"] = Field(default="ring", description="how the hosts talk to each other")

    @property
    def scale(self) -> float:
        """mlx-lm's name for alpha / rank."""
        return self.alpha / self.rank


class Job(Record):
    """One training; it resumes from `out`/last/resume.safetensors, which the trainer has seen to be of this run."""

    base: Path
    train: Path
    valid: Path
    out: Path
    seed: int
    options: LoraOptions
    base_digest: str
    hosts: list[str] = Field(default=[], description="one per process, where there are several")
    launch: list[str] = Field(default=[], description="arguments of mlx's launcher, where there are several")
    too_much: int | None = Field(default=None, description="bytes estimated of a fallback that measured over the limit")


class Outcome(Record):
    """How a training ended: the card, or the bytes estimated of the settings that measured over the limit."""

    card: AdapterCard | None = None
    too_much: int | None = None


class Counts(Record):
    """What the data makes of the settings, before the first step."""

    train_rows: int
    train_dropped: int
    valid_rows: int
    valid_dropped: int
    answer_tokens: int
    longest_row: int
    padding_share: float
    planned_steps: int
    iterations_per_epoch: int
    steps_per_evaluation: int
    planned_epochs: float


class Fit(Record):
    """What training really does. Its names are those of the options it takes the place of, and of the card."""

    batch_size: int
    batch_tokens: int
    gradient_accumulation_steps: int
    num_layers: int | None
    checkpointing: bool
    base_bits: int | None = Field(description="the base is quantized to these in memory; None: it stays as it is")
    eager: bool = Field(default=False, description="on a processor: each part of a step is computed at once, by numpy")
    dtype: str | None = Field(default=None, description="of what torch computes; None where it does not")
    device: str | None = Field(default=None, description="where torch computes")
    memory_plan: str
    predicted_memory_bytes: int | None = None
    measured_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None

    @property
    def changes(self) -> dict[str, int | None]:
        """The options it takes the place of."""
        return {
            "batch_size": self.batch_size,
            "batch_tokens": self.batch_tokens,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "num_layers": self.num_layers,
        }
