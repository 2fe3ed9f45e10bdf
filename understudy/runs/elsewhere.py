"""
A training on another machine: rows, settings and the base's name travel there, the adapter and its metrics come back.

    <place>/training-<fingerprint>/        kept as a channel is: contents by digest, one pointer to the current list
        data/training-.../*.jsonl          train and valid, from home
        models/training-.../out/           the trainer's folder with its checkpoint, from the machine that trains
        models/training-.../outcome.json   how it ended, at last

Either side may be killed at any moment. Whoever comes next pulls what was pushed last and continues from there.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from understudy import errors, locks, registry, store
from understudy.channel import remote, transfer
from understudy.config import Config
from understudy.errors import AssetError, ConfigError, UnderstudyError, WorkerFailed
from understudy.graph import RUN_DIGITS, Node
from understudy.interfaces import Progress
from understudy.records import AdapterCard, BaseCard, Manifest, Record
from understudy.runs.run_record import Surroundings, surroundings

HOME = "UNDERSTUDY_HOME"
"""Variable of the machine that trains: the folder where bases and unfinished trainings are."""
COPY_SHARE = 0.02
"""Of the time, at most, goes into copies of the checkpoint."""
log = logging.getLogger("understudy.train")


class Request(Record):
    """What the machine that trains is told. No secret, no path of home, nothing of the talks but their rows."""

    id: str = Field(pattern=r"^training-[0-9a-f]{8}$", description="its name at `place`")
    channel: str
    place: str = Field(description="where the rows are, and where the adapter goes")
    base: dict[str, Any] = Field(description="section of the preset: the base by its name")
    base_path: str = Field(pattern=r"^models/bases/[\w.-]+/$", description="where it is kept in a home")
    base_fingerprint: str
    base_sha256: str = Field(description="of what is in it, so that both machines mean the same base")
    trainer: dict[str, Any] = Field(description="section of the preset")
    seed: int
    checkpoint_minutes: float


class Outcome(Record):
    """How a training elsewhere ended: with a card, or with the class and the message of an error."""

    card: AdapterCard | None = None
    surroundings: Surroundings | None = None
    seconds: float = 0.0
    error: tuple[str, str | list[str]] | None = None

    @property
    def summary(self) -> str:
        """How it ended, in a sentence."""
        if self.card is None:
            return "It was not trained."
        return f"Valid loss {self.card.best_valid_loss:.3f} after {self.card.steps} steps, {self.seconds / 60:.0f} min."


Wait = Callable[[Request, Progress], str]
"""Has the request carried out by whatever machine takes it, and waits; returns how that ended, for a message."""


def problems(config: Config) -> list[str]:
    """What keeps another machine from training for this preset, one sentence each."""
    machine, sentences = config.machine, list[str]()
    if machine.pool is None:
        return []
    place = machine.place or config.remote
    if place is None:
        sentences.append(
            "machine.place: name a place that both machines reach, s3://bucket/path or file:///shared/folder"
        )
    elif problem := remote.problem(place):
        sentences.append(f"machine.place: {problem}")
    if config.plugin("base").needs_talks:
        sentences.append(f"base: {config.base.use} is made of the talks, which do not travel: name a base, or no pool")
    if config.trainer.use == "external":
        sentences.append("trainer: an external adapter is trained already; leave machine.pool out")
    return sentences


class RemoteTrainer:
    """The trainer of a node, on another machine; the surroundings of the training are known once it is over."""

    def __init__(self, node: Node, wait: Wait) -> None:
        self.request, self.wait, self.surroundings = request_of(node), wait, surroundings()

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, progress: Progress) -> AdapterCard:
        """Have `out` filled elsewhere as a trainer here would. Raises what the trainer raised there."""
        request, mirror = self.request, out.with_name(f".{self.request.id}.partial")
        try:
            before = self._sent(mirror, train, valid, out)
            outcome = before if before and before.card else self._waited(mirror, progress)
            if outcome.card is None:
                kind, argument = outcome.error or ("WorkerFailed", "it does not say how it ended")
                raise getattr(errors, kind, WorkerFailed)(argument)
            shutil.copytree(_models(mirror, request) / "out", out, dirs_exist_ok=True)
        finally:
            shutil.rmtree(mirror, ignore_errors=True)
        self.surroundings = outcome.surroundings or self.surroundings
        return outcome.card.model_copy(update={"rented_seconds": outcome.seconds})

    def forget(self) -> None:
        """Delete the rows and the adapter at the place: both are at home."""
        with remote.connected(self.request.place, self.request.id) as there, suppress(FileNotFoundError):
            there.remove()

    def _sent(self, mirror: Path, train: Path, valid: Path, out: Path) -> Outcome | None:
        """See to it that the rows are there; how an earlier attempt ended, if it has."""
        request = self.request
        if transfer.update(mirror, request.id, request.place):
            return _ended(mirror, request)
        rows = mirror / "data" / request.id
        rows.mkdir(parents=True, exist_ok=True)
        for file, name in ((train, "train.jsonl"), (valid, "valid.jsonl")):
            shutil.copyfile(file, rows / name)
        if (out / "last" / "resume.safetensors").exists():  # begun here, to be continued there
            _copy_run(out, _models(mirror, request) / "out")
        transfer.push(mirror, request.id, request.place)
        return None

    def _waited(self, mirror: Path, progress: Progress) -> Outcome:
        request = self.request
        how = self.wait(request, progress)
        newer = transfer.update(mirror, request.id, request.place)
        outcome = _ended(mirror, request) if newer else None
        if outcome is None:
            raise WorkerFailed(
                f"the machine that trained ended in the middle ({how}); run again, and training resumes from the "
                f"checkpoint that was copied last to {request.place}"
            )
        return outcome


def request_of(node: Node) -> Request:
    """What another machine needs to know to train `node`."""
    config, base = node.config, node.ref("base")
    card: BaseCard = node.read("base")
    revision = {"revision": card.notes["revision"]} if "revision" in card.notes else {}
    manifest = Manifest.model_validate_json((node.file("base") / store.MANIFEST).read_bytes())
    return Request(
        id=f"training-{node.fingerprint[:RUN_DIGITS]}",
        channel=config.name,
        place=str(config.machine.place or config.remote),
        base=config.base.model_dump(mode="json") | revision,
        base_path=base.path,
        base_fingerprint=manifest.fingerprint,
        base_sha256=base.sha256,
        trainer=config.trainer.model_dump(mode="json"),
        seed=config.seed,
        checkpoint_minutes=config.machine.checkpoint_minutes,
    )


def folder() -> Path:
    """The home of this machine where it trains for others."""
    return Path(os.environ.get(HOME) or Path.home() / "understudy").expanduser().resolve()


def work(request: Request, home: Path, progress: Progress) -> Outcome:
    """Do what is asked for, or continue it, and leave the result at the place; nothing of it stays in `home`.

    Raises the trainer's error, which is at the place, too.
    """
    trainings = home / "training"
    mirror, out = trainings / request.id, trainings / f"{request.id}.out"
    with locks.held(trainings / f"{request.id}.lock", f"training/{request.id}"):
        began = time.monotonic()
        if transfer.update(mirror, request.id, request.place):
            shutil.rmtree(out, ignore_errors=True)
            with suppress(FileNotFoundError):
                shutil.copytree(_models(mirror, request) / "out", out)
        copies = Copies(request, mirror, out, began)
        if copies.last.card is None:
            copies.push(_attempt(request, home, out, copies.watched(progress)))
        if copies.last.error:
            kind, argument = copies.last.error
            raise getattr(errors, kind)(argument)
        for left in (mirror, out):
            shutil.rmtree(left, ignore_errors=True)
    return copies.last


class Copies:
    """The copies of an unfinished training to its place, in a mirror of it on this machine."""

    def __init__(self, request: Request, mirror: Path, out: Path, began: float) -> None:
        self.request, self.mirror, self.out = request, mirror, out
        self.last = _outcome(mirror, request)
        self.began = began - self.last.seconds
        self._next, self._copied = time.monotonic(), self._stamp()

    def watched(self, progress: Progress) -> Progress:
        """`progress`, which copies the checkpoint whenever there is a new one and it is time to."""

        def each(done: int, total: int, note: str = "") -> None:
            progress(done, total, note)
            stamp = self._stamp()
            if stamp != self._copied and time.monotonic() >= self._next:
                start = time.monotonic()
                try:
                    self.push(Outcome())
                    self._copied = stamp
                except AssetError as error:  # the network may be back the next time
                    log.warning("the checkpoint could not be copied: %s", error)
                now = time.monotonic()
                self._next = now + max(60 * self.request.checkpoint_minutes, (now - start) / COPY_SHARE)

        return each

    def push(self, outcome: Outcome) -> None:
        """Copy all there is to the place. Raises AssetError, or Busy where another machine did so meanwhile."""
        models = _models(self.mirror, self.request)
        _copy_run(self.out, models / "out")
        self.last = outcome.model_copy(update={"seconds": time.monotonic() - self.began})
        (models / "outcome.json").write_text(self.last.model_dump_json(indent=1), encoding="utf-8")
        transfer.push(self.mirror, self.request.id, self.request.place)

    def _stamp(self) -> int:
        file = self.out / "last" / "resume.safetensors"
        return file.stat().st_mtime_ns if file.exists() else 0


def _attempt(request: Request, home: Path, out: Path, progress: Progress) -> Outcome:
    rows = home / "training" / request.id / "data" / request.id
    around = surroundings(["understudy", "train-model"])
    try:
        base = _base(request, home, progress)
        trainer = registry.build("trainer", request.trainer["use"], _options(request.trainer))
        if problems := trainer.problems():
            raise ConfigError(problems)
        with locks.only_training():
            card = trainer.train(base, rows / "train.jsonl", rows / "valid.jsonl", out, request.seed, progress)
        return Outcome(card=card, surroundings=around)
    except errors.Busy:
        raise
    except UnderstudyError as error:
        return Outcome(error=(type(error).__name__, error.problems if isinstance(error, ConfigError) else str(error)))


def _base(request: Request, home: Path, progress: Progress) -> Path:
    """The folder of the base, made here unless it is there. Raises ConfigError when it is another than at home."""
    plugin = registry.build("base", request.base["use"], _options(request.base))
    ref = store.fresh(home, request.base_path, request.base_fingerprint)
    if ref is None:
        if problems := plugin.problems():
            raise ConfigError([f"on the machine that trains: {problem}" for problem in problems])
        make = partial(plugin.prepare, [], seed=request.seed, progress=progress)
        ref = store.build_folder(home, "base", request.base_path, make, request.base_fingerprint)
    if ref.sha256 != request.base_sha256:
        raise ConfigError(
            [
                f"base: what has this name on the machine that trains is another model than at home ({ref.path}); give "
                "the same folder on both, or a repository with its revision"
            ]
        )
    return home / ref.path


def _options(section: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != "use"}


def _models(mirror: Path, request: Request) -> Path:
    folder = mirror / "models" / request.id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _ended(mirror: Path, request: Request) -> Outcome | None:
    """How it ended; None while it has not."""
    outcome = _outcome(mirror, request)
    return outcome if outcome.card or outcome.error else None


def _outcome(mirror: Path, request: Request) -> Outcome:
    file = _models(mirror, request) / "outcome.json"
    return Outcome.model_validate_json(file.read_bytes()) if file.exists() else Outcome()


def _copy_run(out: Path, to: Path) -> None:
    """Copy a trainer's folder that may grow meanwhile: the checkpoint first, so that its metrics cover it."""
    files = [file for file in out.rglob("*") if file.is_file() and not file.name.endswith(".tmp")]
    for file in sorted(files, key=lambda file: file.name != "resume.safetensors"):
        target = to / file.relative_to(out)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # replaced meanwhile; the next copy has it
            shutil.copyfile(file, target)
