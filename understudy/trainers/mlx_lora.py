"""
LoRA with mlx-lm, in a worker of its own: Apple silicon, or a CPU on Linux for small models.

The loss counts the answer and its end token only. The best weights on the valid set are kept, a killed
run goes on where it was, and what was really trained is read back and compared with what was asked for.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy import worker
from understudy.errors import AssetError, ConfigError, DatasetError, UnderstudyError, WorkerFailed
from understudy.interfaces import Report
from understudy.records import AdapterCard, FusedCard
from understudy.trainers import merge
from understudy.trainers.plan import base_digest, differences, identity


class MlxLoraTrainer:
    """Low-rank adapters on the linear layers of a frozen base."""

    VERSION = 2

    class Options(BaseModel):
        """How the adapter is shaped and how it is trained."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        rank: int = Field(default=8, ge=1, description="width of the adapter; 16 from about 3,000 pairs")
        scale: float = Field(default=2.0, gt=0, description="factor on the adapter: alpha / rank elsewhere")
        dropout: float = Field(default=0.0, ge=0, lt=1, description="share of inputs the adapter does not see")
        layers: int | None = Field(default=None, ge=1, description="blocks from the top that are adapted; all")
        linears: list[str] | None = Field(
            default=None, min_length=1, description="layers inside a block, e.g. [self_attn.q_proj]; all"
        )
        learning_rate: float = Field(default=1e-4, gt=0, description="highest rate, reached after the warmup")
        decay: Literal["cosine", "linear"] = Field(default="cosine", description="how the rate falls to 0")
        warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the updates in which the rate rises")
        epochs: float = Field(default=3, gt=0, description="passes over train, at most: it stops early")
        batch_size: int = Field(default=4, ge=1, description="rows per iteration, at most")
        batch_tokens: int = Field(
            default=4096, ge=32, description="tokens per iteration, at most: it bounds the memory"
        )
        accumulation: int = Field(default=1, ge=1, description="iterations per update")
        weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")
        clip: float = Field(default=1.0, gt=0, description="largest norm of all gradients together")
        max_seq_length: int = Field(default=2048, ge=32, description="rows of more tokens are left out and listed")
        evaluations_per_epoch: int = Field(default=4, ge=1, description="losses on the whole valid set per epoch")
        tolerance: float = Field(
            default=0.0, ge=0, description="nats: later weights this close to the lowest valid loss are kept instead"
        )
        patience: int = Field(default=2, ge=1, description="evaluations without a better loss before it stops")
        sample_tokens: int = Field(
            default=48, ge=0, description="longest answer to the three prompts asked at each evaluation; 0 asks none"
        )

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """Missing packages."""
        missing = [name for name in ("mlx", "mlx_lm") if find_spec(name) is None]
        return [
            f"trainer mlx_lora needs the package {name!r}, which is not installed here; run `make setup` "
            "(mlx exists for Apple silicon and for Linux)"
            for name in missing
        ]

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, report: Report) -> AdapterCard:
        """Tune `base`: `out` and `out`/best hold the best weights, `out`/last the last and all it takes to go on.

        Goes on from what a killed run left in `out`; its losses are those of a run that was left alone.
        Raises ConfigError when that run had other settings, data or base, DatasetError when no row can be
        trained on, AssetError when the disk is full, WorkerFailed when the loss is no number.
        """
        out.mkdir(parents=True, exist_ok=True)
        options = self.options.model_dump()
        run = identity(base, train, valid, seed, options)
        _go_on_or_clear(out, run)
        numbers = worker.call(
            "understudy.trainers.mlx_lora_worker",
            {
                "base": str(base),
                "train": str(train),
                "valid": str(valid),
                "out": str(out),
                "seed": seed,
                "options": options,
                "base_digest": run["base"],
            },
            out / "train.log",
            report,
        )
        if "problem" in numbers:
            raise _error(**numbers["problem"])
        self._read_back(out, numbers)
        return self._card(numbers)

    def fuse(self, base: Path, adapter: Path, out: Path, report: Report) -> FusedCard:
        """Merge into full precision; tokenizer and template are the base's own files. Raises AssetError."""
        _refuse_another_base(base, adapter)
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        gains = merge.deltas(adapter)
        if "quantization" in config or merge.missing(base, gains):
            changed, parameters = self._fuse_with_mlx(base, adapter, out, report)
        else:
            changed, parameters = merge.merge(base, gains, out, report)
            merge.copy_companions(base, out)
        return FusedCard(architecture=config["model_type"], parameters=parameters, changed_share=changed / parameters)

    def _read_back(self, out: Path, numbers: dict[str, Any]) -> None:
        """Compare what the files hold with what was asked for. Raises AssetError."""
        options, config = self.options, json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
        gains = merge.deltas(out)
        blocks = {name.split(".layers.")[-1].split(".")[0] for name in gains}
        linears = {name.split(".layers.")[-1].split(".", 1)[1].removesuffix(".weight") for name in gains}
        asked = {
            "rank": {options.rank},
            "scale": {options.scale},
            "dropout": options.dropout,
            "weights": numbers["trainable_parameters"],
            "layers": options.layers or len(blocks),
            "linears": set(options.linears or linears),
            "updates": numbers["updates"] if numbers["stopped_early"] else numbers["planned_updates"],
        }
        found = {
            "rank": {gain.a.shape[1] for gain in gains.values()} | {gain.b.shape[0] for gain in gains.values()},
            "scale": {gain.scale for gain in gains.values()},
            "dropout": config["lora_parameters"]["dropout"],
            "weights": sum(gain.a.size + gain.b.size for gain in gains.values()),
            "layers": len(blocks),
            "linears": linears,
            "updates": numbers["iterations"] // options.accumulation,
        }
        wrong = [f"{key}: asked for {asked[key]}, found {found[key]}" for key in asked if asked[key] != found[key]]
        if wrong:
            raise AssetError(f"the adapter in {out} is not the one asked for: {'; '.join(wrong)}")

    def _card(self, numbers: dict[str, Any]) -> AdapterCard:
        fields = [name for name in AdapterCard.model_fields if name != "settings"]
        settings = self.options.model_dump() | {"linears": ",".join(self.options.linears or []) or None}
        settings |= {name: value for name, value in numbers.items() if name not in fields}
        return AdapterCard(**{name: numbers[name] for name in fields}, settings=settings)

    def _fuse_with_mlx(self, base: Path, adapter: Path, out: Path, report: Report) -> tuple[int, int]:
        log = out / "fuse.log"
        job = {"base": str(base), "adapter": str(adapter), "out": str(out)}
        numbers = worker.call("understudy.trainers.mlx_fuse_worker", job, log, report)
        log.unlink()
        (out / "README.md").unlink(missing_ok=True)  # mlx-lm's own card, which knows nothing of this model
        for file in merge.companions(base):
            if file.name not in ("config.json", "model.safetensors.index.json"):
                (out / file.name).write_bytes(file.read_bytes())
        names = [name for shard in merge.shards(out) for name in merge.tensors(shard)]
        left = [name for name in names if name.endswith((".scales", ".biases"))]
        if left:
            raise AssetError(f"{len(left)} weights of the merged model are still quantized, e.g. {left[0]}")
        return int(numbers["changed"]), int(numbers["parameters"])


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
    for name in ("metrics.jsonl", "samples.jsonl", "dropped.jsonl", "adapters.safetensors", "train.log"):
        (out / name).unlink(missing_ok=True)
    known.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


def _refuse_another_base(base: Path, adapter: Path) -> None:
    """Raise AssetError when the adapter was trained on other weights than `base` holds."""
    trained_on = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("base")
    if trained_on and trained_on != base_digest(base):
        raise AssetError(
            f"the adapter in {adapter} was trained on another base than {base}; merge it into its own, or train again"
        )


def _error(kind: str, message: str) -> UnderstudyError:
    """What the worker found wrong, as the error the caller knows."""
    if kind == "config":
        return ConfigError(message.splitlines())
    return {"dataset": DatasetError, "asset": AssetError, "diverged": WorkerFailed}[kind](message)
