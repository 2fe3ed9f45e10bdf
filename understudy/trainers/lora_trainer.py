"""
What every LoRA trainer does around its worker: refuse what cannot work, resume or clear, read back, leave `peft/`.

A backend adds its options, what its machine lacks, and the call of its worker. No backend is imported here.
"""

import json
import logging
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from understudy.errors import AssetError, ConfigError, DatasetError
from understudy.interfaces import Progress
from understudy.records import AdapterCard, FusedCard
from understudy.trainers import fuse as fusing
from understudy.trainers import memory_fit, merge, peft_adapter
from understudy.trainers.lora_job import Job, LoraOptions, Outcome
from understudy.trainers.plan import differences, identity
from understudy.trainers.suggested import Suggestion, suggest

SIGABRT, SIGKILL = signal.SIGABRT, getattr(signal, "SIGKILL", 9)  # Windows has no SIGKILL
log = logging.getLogger("understudy.train")


class LoraTrainer:
    """Low-rank adapters on the linear layers of a frozen base; a subclass has them trained."""

    VERSION: int
    INDIFFERENT: set[str] = {"grad_checkpoint"}
    Options: type[LoraOptions] = LoraOptions
    BACKEND: dict[str, str] = {}
    """What tells its runs from those of another backend, where it is part of what a run depends on."""

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    @staticmethod
    def suggested(parameters: int, rows: int) -> Suggestion:
        """The options for a base of this size and so many train rows, where the preset leaves them out."""
        return suggest(parameters, rows)

    def problems(self) -> list[str]:
        """What keeps this machine from training with these options, one sentence each."""
        raise NotImplementedError

    def run_worker(self, job: Job, progress: Progress) -> AdapterCard:
        """The card of the job, done by the backend's worker."""
        raise NotImplementedError

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, progress: Progress) -> AdapterCard:
        """Tune `base`: `out` and `out`/best hold the best weights, `out`/last the last and all it takes to resume.

        Resumes what a killed run left in `out`; its losses are those of a run that was left alone. `out`/peft holds the
        same adapter as PEFT reads it.
        Equal input gives equal bytes on the same chip and versions, but for what was measured: card, train.log and the
        .jsonl files. Another number of processes, or less free memory that takes other fallbacks, gives other weights.
        Raises ConfigError when that run had other settings, data or base, DatasetError when no row can be
        trained on, AssetError when the disk is full, Diverged when the loss became NaN.
        """
        refuse_missing(base, train, valid)
        out.mkdir(parents=True, exist_ok=True)
        run = identity(base, train, valid, seed, self.options.model_dump(exclude=self.INDIFFERENT)) | self.BACKEND
        resume_or_clear(out, run)
        job = Job(
            base=base.resolve(),
            train=train.resolve(),
            valid=valid.resolve(),
            out=out.resolve(),
            seed=seed,
            options=self.options,
            base_digest=run["base"],
        )
        card = self.run_worker(job, progress)
        read_back(out, self.options, card)
        peft_adapter.leave(out, base)
        return card

    def fuse(self, base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
        """Merge into full precision; tokenizer and template are the base's own files. Raises AssetError."""
        return fusing.fuse(base, adapter, out, progress)


def read_back(out: Path, options: LoraOptions, card: AdapterCard) -> None:
    """Raise AssetError when the adapter's files in `out` are not what the options say."""
    config = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    gains = merge.deltas(out)
    places = [name.split(".layers.")[-1].split(".", 1) for name in gains]  # block, and the layer inside it
    modules = {re.sub(r"(\.[0-9]+)?\.weight$", "", module) for _, module in places}  # experts are numbered
    blocks = len({block for block, _ in places})
    pairs = {
        "rank": ({options.rank}, {size for gain in gains.values() for size in (gain.a.shape[1], gain.b.shape[0])}),
        "scale": ({options.scale}, {gain.scale for gain in gains.values()}),
        "dropout": (options.dropout, config["lora_parameters"]["dropout"]),
        "weights": (card.trainable_parameters, sum(gain.a.size + gain.b.size for gain in gains.values())),
        "num_layers": (card.settings["num_layers"] or blocks, blocks),
        "target_modules": (set(options.target_modules or modules), modules),
    }
    wrong = [f"{name}: {pair[0]} is set, {pair[1]} in the files" for name, pair in pairs.items() if pair[0] != pair[1]]
    if wrong:
        raise AssetError(f"the adapter in {out} does not match its options: {'; '.join(wrong)}")


def within_memory(job: Job, attempt: Callable[[Job], Outcome]) -> AdapterCard:
    """The card; `attempt` is made again with the next fallback where measuring showed that it needs too much.

    Settings that measured over the limit, or whose measuring the system ended for its memory, are not tried again.
    """
    while True:
        outcome = attempt(job)
        if outcome.card:
            return outcome.card
        job = job.model_copy(update={"too_much": outcome.too_much})


def killed_while_measuring(out: Path, why: str) -> int | None:
    """The estimate for the settings whose measuring was the end of the worker; None when it ended otherwise."""
    fit = memory_fit.last(out)
    if fit is None or not ("(killed" in why or f"exit code {-SIGABRT}" in why):
        return None
    return fit.predicted_memory_bytes if fit.measured_memory_bytes is None else None


def refuse_missing(base: Path, train: Path, valid: Path) -> None:
    """Raise ConfigError or DatasetError when there is no base, or no dataset."""
    if not (base / "config.json").is_file():
        raise ConfigError([f"base: {base} holds no config.json; give a folder in the Hugging Face layout"])
    for file in (train, valid):
        if not file.is_file():
            raise DatasetError(f"{file} does not exist; make the dataset first (run without --only)")


def resume_or_clear(out: Path, run: dict[str, object]) -> None:
    """Leave a run that can resume as it is, remove any other. Raises ConfigError when it was another run."""
    record = out / "identity.json"
    if (out / "last" / "resume.safetensors").exists() and record.exists():
        if changes := differences(json.loads(record.read_text(encoding="utf-8")), run):
            raise ConfigError(
                [f"the run in {out} was started with {'; '.join(changes)}: put that back, or delete it to start again"]
            )
        log.info("train: resuming from the checkpoint of a run that was stopped")
        return
    for name in ("best", "last", "checkpoints", peft_adapter.FOLDER):
        shutil.rmtree(out / name, ignore_errors=True)
    for file in (*out.glob("*.jsonl"), out / "adapters.safetensors", out / "train.log"):
        file.unlink(missing_ok=True)
    record.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
