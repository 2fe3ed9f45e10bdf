"""
LoRA with mlx-lm, in a worker of its own: Apple silicon, or a CPU on Linux for small models.

The loss is over the target tokens only: the answer and its end token. The best weights on the valid set are saved, a
killed run resumes from its checkpoint, and what was really trained is read back and compared with the options.
"""

import json
import logging
import re
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from understudy import worker
from understudy.errors import AssetError, ConfigError, DatasetError, Diverged, WorkerFailed
from understudy.interfaces import Progress
from understudy.records import AdapterCard, FusedCard
from understudy.trainers import fuse as fusing
from understudy.trainers import merge, mlx_fit, mlx_launch
from understudy.trainers.lora_job import Job, LoraOptions, Outcome
from understudy.trainers.plan import differences, identity
from understudy.trainers.suggested import Suggestion, suggest

WORKER = "understudy.trainers.mlx_lora_worker"


class MlxLoraTrainer:
    """Low-rank adapters on the linear layers of a frozen base."""

    VERSION = 4
    INDIFFERENT = {"grad_checkpoint", "hosts", "hostfile", "backend"}
    Options = LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    @staticmethod
    def suggested(parameters: int, rows: int) -> Suggestion:
        """The options for a base of this size and so many train rows, where the preset leaves them out."""
        return suggest(parameters, rows)

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
            group = mlx_launch.hosts(options)
        except ConfigError as error:
            return error.problems
        if group is None:
            return []
        if options.backend == "mpi" and which("mpirun") is None:
            return ["trainer.backend: mpi needs the program mpirun, which is not here; install Open MPI, or take ring"]
        names = [name for name in options.hosts or [] if not mlx_launch.is_address(name)]
        if options.backend == "ring" and names:
            return [
                f"trainer.hosts: {names[0]!r} is not an address, and the ring needs addresses; "
                "give addresses, or a hostfile with names and addresses"
            ]
        return []

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, progress: Progress) -> AdapterCard:
        """Tune `base`: `out` and `out`/best hold the best weights, `out`/last the last and all it takes to resume.

        Resumes what a killed run left in `out`; its losses are those of a run that was left alone.
        Equal input gives equal bytes on the same chip and versions, but for what was measured: card, train.log and the
        .jsonl files. Another number of hosts, or less free memory that takes other fallbacks, gives other weights.
        Raises ConfigError when that run had other settings, data or base, DatasetError when no row can be
        trained on, AssetError when the disk is full, Diverged when the loss became NaN.
        """
        _refuse_missing(base, train, valid)
        out.mkdir(parents=True, exist_ok=True)
        run = identity(base, train, valid, seed, self.options.model_dump(exclude=self.INDIFFERENT))
        _resume_or_clear(out, run)
        job = Job(
            base=base.resolve(),
            train=train.resolve(),
            valid=valid.resolve(),
            out=out.resolve(),
            seed=seed,
            options=self.options,
            base_digest=run["base"],
        )
        card = _train_within_memory(job, progress, mlx_launch.hosts(self.options))
        read_back(out, self.options, card)
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


def _train_within_memory(job: Job, progress: Progress, group: mlx_launch.Hosts | None) -> AdapterCard:
    """The card; the worker is started again with the next fallback where measuring showed that it needs too much.

    Settings that measured over the limit, or whose measuring the system ended for its memory, are not tried again.
    Raises what the worker raises, and WorkerFailed.
    """
    module, log = mlx_launch.__name__ if group else WORKER, job.out / "train.log"
    while True:
        if group:
            launch = mlx_launch.arguments(group, job.options.backend)
            job = job.model_copy(update={"hosts": group.names, "launch": launch})
        try:
            outcome = worker.call(module, job, Outcome, progress, log)
        except Diverged:
            raise
        except WorkerFailed as error:
            too_much = None if group else _killed_while_measuring(job.out, str(error))
            if too_much is None:
                raise (mlx_launch.explain(error, log, group) if group else error) from None
            outcome = Outcome(too_much=too_much)
        finally:
            shutil.rmtree(job.out / ".processes", ignore_errors=True)
        if outcome.card:
            return outcome.card
        job = job.model_copy(update={"too_much": outcome.too_much})


def _killed_while_measuring(out: Path, why: str) -> int | None:
    """The estimate for the settings whose measuring was the end of the worker; None when it ended otherwise."""
    fit = mlx_fit.last(out)
    if fit is None or not ("(killed" in why or f"exit code {-signal.SIGABRT}" in why):
        return None
    return fit.predicted_memory_bytes if fit.measured_memory_bytes is None else None


def _refuse_missing(base: Path, train: Path, valid: Path) -> None:
    """Raise ConfigError or DatasetError when there is no base, or no dataset."""
    if not (base / "config.json").is_file():
        raise ConfigError([f"base: {base} holds no config.json; give a folder in the Hugging Face layout"])
    for file in (train, valid):
        if not file.is_file():
            raise DatasetError(f"{file} does not exist; make the dataset first (run without --only)")


def _resume_or_clear(out: Path, run: dict[str, object]) -> None:
    """Leave a run that can resume as it is, remove any other. Raises ConfigError when it was another run."""
    record = out / "identity.json"
    if (out / "last" / "resume.safetensors").exists() and record.exists():
        if changes := differences(json.loads(record.read_text(encoding="utf-8")), run):
            raise ConfigError(
                [f"the run in {out} was started with {'; '.join(changes)}: put that back, or delete it to start again"]
            )
        logging.getLogger("understudy.train").info("train: resuming from the checkpoint of a run that was stopped")
        return
    for name in ("best", "last", "checkpoints"):
        shutil.rmtree(out / name, ignore_errors=True)
    for file in (*out.glob("*.jsonl"), out / "adapters.safetensors", out / "train.log"):
        file.unlink(missing_ok=True)
    record.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
