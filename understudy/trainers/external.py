"""
An adapter that another program made, taken in: `trainer: {use: external, path: FOLDER}`.

What LLaMA-Factory, axolotl, Unsloth, TRL or mlx_lm.lora trained from this dataset is checked, brought into the house's
form, and then merged, written, scored and served as our own. Nothing is trained here.
"""

import hashlib
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy import worker
from understudy.errors import AssetError, ConfigError
from understudy.interfaces import Progress
from understudy.records import AdapterCard, FusedCard, Record
from understudy.trainers import fuse as fusing
from understudy.trainers import machine, merge, peft_adapter
from understudy.trainers.lora_trainer import refuse_missing
from understudy.trainers.peft_adapter import CONFIG, MLX_WEIGHTS, NOTE, PEFT_WEIGHTS
from understudy.trainers.plan import base_digest

log = logging.getLogger("understudy.train")


class LookJob(Record):
    """What the worker is asked: the valid loss of a base, and with an adapter."""

    base: Path
    adapter: Path
    valid: Path
    out: Path


class ExternalTrainer:
    """Takes in a folder that PEFT or mlx-lm saved."""

    VERSION = 1
    INDIFFERENT = {"path"}

    class Options(BaseModel):
        """Where the adapter is."""

        model_config = ConfigDict(frozen=True, extra="forbid")
        path: Path = Field(description="folder of the adapter: adapter_config.json with PEFT's or mlx-lm's weights")

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """What keeps the folder from being an adapter."""
        folder = self.options.path
        if not folder.is_dir():
            return [f"trainer.path: {folder} is no folder; name the one that the other program saved its adapter in"]
        if not (folder / CONFIG).is_file():
            return [f"trainer.path: {folder} holds no {CONFIG}; name the folder of the adapter itself"]
        if not any((folder / name).is_file() for name in (MLX_WEIGHTS, PEFT_WEIGHTS)):
            return [f"trainer.path: {folder} holds neither {PEFT_WEIGHTS} nor {MLX_WEIGHTS}; save it as safetensors"]
        return []

    def contents(self) -> str:
        """The digest of the adapter, of which the preset only names the folder. Raises ConfigError."""
        if problems := self.problems():
            raise ConfigError(problems)
        digest = hashlib.sha256()
        for name in (CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS):
            if (self.options.path / name).is_file():
                digest.update((self.options.path / name).read_bytes())
        return digest.hexdigest()

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, progress: Progress) -> AdapterCard:
        """Fill `out` with the adapter. Raises AssetError for another base or dataset, or what cannot be merged."""
        if problems := self.problems():
            raise ConfigError(problems)
        refuse_missing(base, train, valid)
        out.mkdir(parents=True, exist_ok=True)
        folder = self.options.path
        if (folder / PEFT_WEIGHTS).is_file():
            peft_adapter.from_peft(folder, out)
        else:
            for name in (CONFIG, MLX_WEIGHTS):
                shutil.copyfile(folder / name, out / name)
        checked = _refuse_other_data(folder, train, valid)
        _require_base(folder, out, base)
        peft_adapter.leave(out, base)
        losses = _look(LookJob(base=base, adapter=out, valid=valid, out=out), progress)
        return _card(out, losses, checked)

    def fuse(self, base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
        """Merge into full precision; tokenizer and template are the base's own files. Raises AssetError."""
        return fusing.fuse(base, adapter, out, progress)


def _require_base(folder: Path, out: Path, base: Path) -> None:
    """Write the base's digest into the adapter's config. Raises AssetError where the adapter is another base's."""
    settings = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    note = folder / NOTE
    known = settings.get("base") or (
        json.loads(note.read_text(encoding="utf-8")).get("base") if note.exists() else None
    )
    digest = base_digest(base)
    if known and known != digest:
        raise AssetError(f"the adapter in {folder} was trained on another base than {base.name}: take that one as base")
    weights = fusing.original(base)
    gains = merge.renamed(weights, merge.deltas(out))
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    if "quantization" not in config and (lost := merge.missing(weights, gains)):
        raise AssetError(
            f"the adapter in {folder} changes {lost[0]} with {gains[lost[0]].shape}, which {base.name} has not in that "
            "shape: it was trained on another base"
        )
    name = settings.get("peft", {}).get("base_model_name_or_path")
    if name and not known:
        log.info(
            "train: the adapter names %s as its base; its shapes fit %s, its weights are not recorded", name, base.name
        )
    (out / CONFIG).write_text(json.dumps(settings | {"base": digest}, indent=1) + "\n", encoding="utf-8")


def _refuse_other_data(folder: Path, train: Path, valid: Path) -> bool:
    """Whether a record beside the adapter says that it was trained on these rows. Raises AssetError when it does not.

    Rows that were held out here may be among those of another split, and every score would be worth nothing.
    """
    record = next((f for f in (folder / "identity.json", folder.parent / "identity.json") if f.is_file()), None)
    if record is None:
        log.info("train: no record says on which rows this adapter was trained: be sure that it was this train split")
        return False
    known = json.loads(record.read_text(encoding="utf-8"))
    for name, file in (("train", train), ("valid", valid)):
        if known.get(name) != hashlib.sha256(file.read_bytes()).hexdigest():
            raise AssetError(
                f"the adapter in {folder} was trained on another {name} split ({record.name} beside it): its answers "
                "to held-out questions would prove nothing; train it on this dataset"
            )
    return True


def _look(job: LookJob, progress: Progress) -> tuple[float, float]:
    """The valid losses of base and adapter; NaN where mlx is not installed, and for an empty valid set."""
    if machine.missing(machine.MLX) or not job.valid.read_text(encoding="utf-8").strip():
        return math.nan, math.nan
    losses = worker.call("understudy.trainers.mlx_look_worker", job, list[float], progress, job.out / "train.log")
    return losses[0], losses[1]


def _card(out: Path, losses: tuple[float, float], checked: bool) -> AdapterCard:
    gains = merge.deltas(out)
    shape: dict[str, Any] = json.loads((out / CONFIG).read_text(encoding="utf-8"))["lora_parameters"]
    settings = {"rank": int(shape["rank"]), "alpha": float(shape["scale"]) * int(shape["rank"])}
    return AdapterCard(
        trainable_parameters=sum(gain.a.size + gain.b.size for gain in gains.values()),
        steps=0,
        iterations=0,
        epochs=0.0,
        stopped_early=False,
        best_iteration=0,
        base_valid_loss=losses[0],
        best_valid_loss=losses[1],
        longest_row=0,
        padding_share=0.0,
        tokens_per_second=0.0,
        overhead_share=0.0,
        peak_memory_bytes=0,
        seconds=0.0,
        settings={**settings, "trained_elsewhere": True, "data_checked": checked},
    )
