"""
LoRA with mlx-lm, in a worker of its own: Apple silicon, or a CPU on Linux for small models.

The loss counts the answer and its end token only. The best weights on the valid set are kept, a killed
run goes on where it was, and what was really trained is read back and compared with what was asked for.
"""

import json
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from understudy import worker
from understudy.errors import AssetError, ConfigError, DatasetError, Diverged, UnderstudyError, WorkerFailed
from understudy.interfaces import Progress
from understudy.records import AdapterCard, FusedCard
from understudy.trainers import fuse as fusing
from understudy.trainers import merge, mlx_launch
from understudy.trainers.plan import differences, identity


def _bare(value: Any) -> Any:
    """YAML reads a bare `on` as true and `off` as false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class MlxLoraTrainer:
    """Low-rank adapters on the linear layers of a frozen base."""

    VERSION = 4
    INDIFFERENT = {"grad_checkpoint", "hosts", "hostfile", "backend"}

    class Options(BaseModel):
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
        batch_tokens: int = Field(
            default=4096, ge=32, description="tokens per iteration, at most: it bounds the memory"
        )
        gradient_accumulation_steps: int = Field(default=1, ge=1, description="iterations per optimizer step")
        weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")
        max_grad_norm: float = Field(default=1.0, gt=0, description="largest norm of all gradients together")
        max_seq_length: int = Field(default=2048, ge=32, description="rows of more tokens are left out and listed")
        evaluations_per_epoch: int = Field(default=4, ge=1, description="losses on the whole valid set per epoch")
        tolerance: float = Field(
            default=0.0, ge=0, description="nats: later weights this close to the lowest valid loss are kept instead"
        )
        patience: int = Field(default=2, ge=1, description="evaluations without a better loss before it stops")
        sample_tokens: int = Field(
            default=48, ge=0, description="longest answer to the three prompts asked at each evaluation; 0 asks none"
        )
        memory: Annotated[Literal["auto", "off"], BeforeValidator(_bare)] = Field(
            default="auto", description="auto: foretold, measured and made to fit; off: as it is set here"
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

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """Missing packages, and hosts that cannot be reached that way."""
        missing = [name for name in ("mlx", "mlx_lm") if find_spec(name) is None]
        return self._host_problems() + [
            f"trainer mlx_lora needs the package {name!r}, which is not installed here; run `make setup` "
            "(mlx exists for Apple silicon and for Linux)"
            for name in missing
        ]

    def _host_problems(self) -> list[str]:
        options = self.options
        if options.hosts and options.hostfile:
            return ["trainer.hosts and trainer.hostfile are both set; keep one of them"]
        try:
            group = mlx_launch.hosts(options.model_dump())
        except ConfigError as error:
            return error.problems
        if group is None:
            return []
        if options.backend == "mpi" and which("mpirun") is None:
            return ["trainer.backend: mpi needs the program mpirun, which is not here; install Open MPI, or take ring"]
        by_name = [name for name in options.hosts or [] if not mlx_launch.is_address(name)]
        if options.backend == "ring" and by_name:
            return [
                f"trainer.hosts: {by_name[0]!r} is no address, and the ring needs addresses; "
                "give addresses, or a hostfile with names and addresses"
            ]
        return []

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, progress: Progress) -> AdapterCard:
        """Tune `base`: `out` and `out`/best hold the best weights, `out`/last the last and all it takes to go on.

        Goes on from what a killed run left in `out`; its losses are those of a run that was left alone.
        Equal input gives equal bytes on the same chip and versions, but for what was measured: card, train.log and the
        .jsonl files. Another number of hosts, or less free memory that takes other remedies, gives other weights.
        Raises ConfigError when that run had other settings, data or base, DatasetError when no row can be
        trained on, AssetError when the disk is full, Diverged when the loss is no number.
        """
        _refuse_missing(base, train, valid)
        out.mkdir(parents=True, exist_ok=True)
        options = self.options.model_dump()
        decides = {name: value for name, value in options.items() if name not in self.INDIFFERENT}
        run = identity(base, train, valid, seed, decides)
        _go_on_or_clear(out, run)
        group = mlx_launch.hosts(options)
        job = {
            "base": str(base.resolve()),
            "train": str(train.resolve()),
            "valid": str(valid.resolve()),
            "out": str(out.resolve()),
            "seed": seed,
            "options": options,
            "base_digest": run["base"],
            "hosts": group.names if group else None,
        }
        numbers = _until_it_fits(job, out, progress, group)
        if "problem" in numbers:
            raise _error(**numbers["problem"])
        self._read_back(out, numbers)
        return self._card(numbers)

    def fuse(self, base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
        """Merge into full precision; tokenizer and template are the base's own files. Raises AssetError."""
        return fusing.fuse(base, adapter, out, progress)

    def _read_back(self, out: Path, numbers: dict[str, Any]) -> None:
        """Compare what the files hold with what was asked for. Raises AssetError."""
        options, config = self.options, json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
        gains = merge.deltas(out)
        blocks = {name.split(".layers.")[-1].split(".")[0] for name in gains}
        modules = {name.split(".layers.")[-1].split(".", 1)[1].removesuffix(".weight") for name in gains}
        asked = {
            "rank": {options.rank},
            "scale": {options.alpha / options.rank},
            "dropout": options.dropout,
            "weights": numbers["trainable_parameters"],
            "num_layers": numbers["num_layers"] or len(blocks),
            "target_modules": set(options.target_modules or modules),
            "steps": numbers["steps"] if numbers["stopped_early"] else numbers["planned_steps"],
        }
        found = {
            "rank": {gain.a.shape[1] for gain in gains.values()} | {gain.b.shape[0] for gain in gains.values()},
            "scale": {gain.scale for gain in gains.values()},
            "dropout": config["lora_parameters"]["dropout"],
            "weights": sum(gain.a.size + gain.b.size for gain in gains.values()),
            "num_layers": len(blocks),
            "target_modules": modules,
            "steps": numbers["iterations"] // numbers["gradient_accumulation_steps"],
        }
        wrong = [f"{key}: asked for {asked[key]}, found {found[key]}" for key in asked if asked[key] != found[key]]
        if wrong:
            raise AssetError(f"the adapter in {out} is not the one asked for: {'; '.join(wrong)}")

    def _card(self, numbers: dict[str, Any]) -> AdapterCard:
        fields = [name for name in AdapterCard.model_fields if name != "settings"]
        settings = {
            name: ",".join(value) if isinstance(value, list) else value
            for name, value in self.options.model_dump().items()
        }
        settings |= {name: value for name, value in numbers.items() if name not in fields}
        return AdapterCard(**{name: numbers[name] for name in fields}, settings=settings)


def _until_it_fits(
    job: dict[str, Any], out: Path, progress: Progress, group: mlx_launch.Hosts | None
) -> dict[str, Any]:
    """What the worker tells; begun again, further down the ladder, where measuring showed that it needs too much.

    A way that was over the limit as it was measured, or that the system ended for its memory while it was measured,
    is not tried again. Raises WorkerFailed.
    """
    module, launch = "understudy.trainers.mlx_lora_worker", {}
    while True:
        if group:
            module, launch = mlx_launch.__name__, {"launch": mlx_launch.arguments(group, job["options"]["backend"])}
        try:
            numbers = worker.call(module, job | launch, out / "train.log", progress)
        except WorkerFailed as error:
            too_much = None if group else _ended_while_measuring(out, str(error))
            if too_much is None:
                raise (mlx_launch.told(error, out / "train.log", group) if group else error) from None
            numbers = {"too_much": too_much}
        finally:
            shutil.rmtree(out / ".ranks", ignore_errors=True)
        if "too_much" not in numbers:
            return numbers
        job = job | {"too_much": numbers["too_much"]}


def _ended_while_measuring(out: Path, why: str) -> int | None:
    """What was foretold of the way whose measuring was the end of the worker; None when it ended otherwise."""
    file = out / "memory.jsonl"
    if not file.exists() or not ("(killed" in why or f"exit code {-signal.SIGABRT}" in why):
        return None
    decided = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
    return decided["predicted_memory_bytes"] if decided["measured_memory_bytes"] is None else None


def _refuse_missing(base: Path, train: Path, valid: Path) -> None:
    """Raise ConfigError or DatasetError when there is no base, or no dataset."""
    if not (base / "config.json").is_file():
        raise ConfigError([f"base: {base} holds no config.json; give a folder in the Hugging Face layout"])
    for file in (train, valid):
        if not file.is_file():
            raise DatasetError(f"{file} does not exist; make the dataset first (run without --only)")


def _go_on_or_clear(out: Path, run: dict[str, Any]) -> None:
    """Leave a run that can go on as it is, remove any other. Raises ConfigError when it was another run."""
    known = out / "identity.json"
    if (out / "last" / "resume.safetensors").exists() and known.exists():
        changed = differences(json.loads(known.read_text(encoding="utf-8")), run)
        if changed:
            raise ConfigError(
                [f"the run in {out} began with {'; '.join(changed)}: put that back, or delete it to begin again"]
            )
        return
    for name in ("best", "last"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("metrics", "samples", "dropped", "memory"):
        (out / f"{name}.jsonl").unlink(missing_ok=True)
    for name in ("adapters.safetensors", "train.log"):
        (out / name).unlink(missing_ok=True)
    known.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


def _error(kind: str, message: str) -> UnderstudyError:
    """What the worker found wrong, as the error the caller knows."""
    if kind == "config":
        return ConfigError(message.splitlines())
    return {"dataset": DatasetError, "asset": AssetError, "diverged": Diverged}[kind](message)
