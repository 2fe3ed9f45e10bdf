"""Repeat the training that models/NAME/RUN/run.json describes, from the same dataset and base, and compare the losses.

The first run is not changed. Where the dataset has grown since, the rows are those kept with the run.
"""

import json
import logging
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from understudy import locks, registry, store
from understudy.cli import Result, display
from understudy.errors import AssetError, ConfigError
from understudy.progress import track
from understudy.records import AdapterCard, AssetRef, RunRecord, sha256_of
from understudy.report.training import lines
from understudy.runs import run_record, snapshots
from understudy.text.words import one_line, slug

EXAMPLE = "understudy rerun my-channel/1f2e3d4c"
FORMAT = 1
NAME = "rerun"
log = logging.getLogger("understudy.cli.rerun")


class Comparison(NamedTuple):
    """The losses of a second run next to those of the first."""

    losses: int
    largest: float
    """Nats between two losses that should be the same."""
    where: str
    alone: int
    """Losses that only one of the two has."""

    def __str__(self) -> str:
        only = f"; {self.alone} more are in one of the two runs only" if self.alone else ""
        if not self.largest:
            return f"equal: {self.losses} losses, the same to the last digit{only}"
        return f"the largest difference of {self.losses} losses is {self.largest:.3g} nats ({self.where}){only}"


def options(p: ArgumentParser) -> None:
    p.add_argument("run", metavar="RUN", help="a folder under models/NAME")
    p.add_argument("--channel", metavar="NAME", help="required when two channels have a run of this name")
    p.add_argument("--out", type=Path, metavar="DIR", help="for the adapter (default: RUN-rerun-N beside RUN)")


def main(args: Namespace) -> Result:
    """Train again."""
    text = rerun(args.home, args.run, args.channel, args.out, args.log_level)
    return Result(text, {"text": text})


def rerun(
    home: Path, run: str, channel: str | None = None, out: Path | None = None, log_level: int = logging.INFO
) -> str:
    """Train again what `run` trained and report how near it came, in a few lines.

    The adapter goes to models/<channel>/<run>-rerun-N/, or into the folder `out`. A rerun that was killed resumes.
    Raises AssetError when the record, its dataset or its base is not what it was; ConfigError, Busy, DatasetError and
    WorkerFailed as a training does.
    """
    if channel is None and run.count("/") == 1:
        channel, run = run.split("/")
    record = read(find(home / "models", run, channel))
    if wrong := changed(home, record):
        raise AssetError(f"{record.channel}/{run} cannot be repeated: {'; '.join(wrong)}")
    with display.shown(home / "logs" / f"{record.channel}-{run}-{NAME}.log", log_level):
        for note in differences(record):
            log.warning("differs from the first run: %s", note)
        folder = _train(home, record, out)
    compared = compare(_losses(home, record), lines(folder / "metrics.jsonl"))
    weights = (
        "the same, byte for byte"
        if run_record.weights_digest(folder) == record.weights_sha256
        else "not the same bytes"
    )
    return f"{record.channel}/{run}, trained again: {folder}\n  losses   {compared}\n  weights  {weights}"


def find(models: Path, run: str, channel: str | None = None) -> Path:
    """The record of `run`. Raises AssetError with what there is."""
    if slug(run) != run or (channel and slug(channel) != channel):
        raise AssetError(f"{run if slug(run) != run else channel!r} is not a run's name: letters, digits and hyphens")
    files = _records(models, f"{channel or '*'}/{run}")
    if len(files) > 1:
        names = ", ".join(file.parents[1].name for file in files)
        raise AssetError(f"{run!r} is a run of several channels; choose one with --channel: {names}")
    if not files:
        names = ", ".join(f"{file.parents[1].name}/{file.parent.name}" for file in _records(models, "*/*"))
        raise AssetError(f"no record of a run {run!r} under {models}; there are: {names or 'none yet'}")
    return files[0]


def _records(models: Path, runs: str) -> list[Path]:
    """The records of `runs`, a pattern; not once more through the link to the champion."""
    return sorted(file for file in models.glob(f"{runs}/run.json") if not file.parent.is_symlink())


def read(file: Path) -> RunRecord:
    """The record in `file`. Raises AssetError when it cannot be read, or only by a newer version of this program."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        version = raw.get("format") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise AssetError(
                f"{file} was written by a newer version (format {version}, this one knows {FORMAT}): update"
            )
        return RunRecord.model_validate(raw)
    except (OSError, ValueError) as error:
        why = error.errors()[0]["loc"] if isinstance(error, ValidationError) else error
        raise AssetError(
            f"{file} is not a record of a run ({one_line(str(why), 120)}); train again to write it"
        ) from None


def changed(home: Path, record: RunRecord) -> list[str]:
    """What differs on disk from the time of the run: train, valid and the base."""
    digests: list[tuple[str, AssetRef, str | None]] = []
    for split, ref in (("train", record.dataset.train), ("valid", record.dataset.valid)):
        file = snapshots.file(home, record, ref)
        digests.append((f"the {split} split", ref, sha256_of(file.read_bytes()) if file.is_file() else None))
    base = home / record.base.path
    digest = store.folder_digest(base)[0] if base.is_dir() else None
    digests.append((f"the base {record.base_name}", record.base, digest))
    return [
        f"{what} has changed ({ref.path}: {ref.sha256[:8]} then, {now[:8]} now)"
        if now
        else f"{what} is gone ({ref.path})"
        for what, ref, now in digests
        if now != ref.sha256
    ]


def differences(record: RunRecord) -> list[str]:
    """What else may change a loss slightly: another version of a package, of the trainer, another machine."""
    trainer = registry.resolve("trainer", record.settings["trainer"]["use"])
    chip = run_record.surroundings([NAME]).host.chip
    now = run_record.packages() | {"version of the trainer": trainer.VERSION, "chip": chip}
    then = record.packages | {"version of the trainer": record.trainer_version, "chip": record.host.chip}
    return [
        f"{name} {then.get(name, 'not there')}, now {now.get(name, 'not there')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def compare(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> Comparison:
    """The losses of two runs, by iteration; rows as in metrics.jsonl."""
    one, two = _by_place(first), _by_place(second)
    both = sorted(one.keys() & two.keys())
    largest, where = 0.0, ""
    for place in both:
        away = abs(one[place] - two[place])
        if away > largest:
            iteration, kind = place
            largest, where = away, f"{kind} loss at iteration {iteration}: {one[place]:.4f} then, {two[place]:.4f} now"
    return Comparison(len(both), largest, where, len(one.keys() ^ two.keys()))


def _train(home: Path, record: RunRecord, out: Path | None) -> Path:
    options = dict(record.settings["trainer"])
    use = options.pop("use")
    if problems := registry.option_problems("trainer", use, options):
        raise ConfigError([f"trainer.{problem}" for problem in problems])
    trainer = registry.build("trainer", use, options)
    if problems := trainer.problems():
        raise ConfigError(problems)

    def make(folder: Path) -> AdapterCard:
        train, valid = (snapshots.file(home, record, ref) for ref in (record.dataset.train, record.dataset.valid))
        with locks.only_training(), track("train") as progress:
            card: AdapterCard = trainer.train(home / record.base.path, train, valid, folder, record.seed, progress)
        return card

    top, path = _place(home, record, out)
    store.build_folder(top, "adapter", path, make, store.fingerprint(NAME, record.fingerprint, trainer.VERSION))
    return top / path


def _place(home: Path, record: RunRecord, out: Path | None) -> tuple[Path, str]:
    """The folder for the adapter: that of the first unfinished rerun, or `out`."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise AssetError(f"{out} already exists and is not an empty folder; choose another --out")
        return out.resolve().parent, f"{out.resolve().name}/"
    number = 1
    while store.latest(home, path := f"models/{record.channel}/{record.run}-{NAME}-{number}/adapter/"):
        number += 1
    return home, path


def _losses(home: Path, record: RunRecord) -> list[dict[str, Any]]:
    """The losses of the first run; only the two in its record if its folder is gone."""
    first, result = home / "models" / record.channel / record.run / "adapter" / "metrics.jsonl", record.result
    best = {"iteration": result.best_iteration, "valid_loss": result.best_valid_loss}
    return lines(first) or [{"iteration": 0, "valid_loss": result.base_valid_loss}, best]


def _by_place(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], float]:
    kinds = ("train", "valid")
    losses = [((row["iteration"], kind), row.get(f"{kind}_loss")) for row in rows for kind in kinds]
    return {place: loss for place, loss in losses if loss is not None and math.isfinite(loss)}
