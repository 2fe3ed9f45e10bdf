"""
Files of sound and video: Whisper writes down what is said, in a process of its own, one file at a time.

What Whisper hears where there is no speech is dropped and counted: stretches without speech, and words that go round in
circles. What it has written down is kept, ten minutes at a time: it is the slowest step of all, so that a killed run
continues where it was, and other settings read the same words again.
"""

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy import progress, worker
from understudy.errors import Refused, SourceError, WorkerFailed
from understudy.readers import caption_files
from understudy.records import Document, Entry, Record, sha256_of

SUFFIXES = (".mp3", ".m4a", ".wav", ".ogg", ".opus", ".flac", ".mp4", ".webm", ".mkv", ".mov")
IN_PLACE_OF_CAPTIONS = {"no_captions", "no_language", "empty_body", "po_token"}
"""States of a talk whose captions are not to be had, but maybe its sound."""
WORKER, PACKAGE = "understudy.readers.sound_worker", "faster-whisper"
INSTALL = "pip install 'understudy[sound]'"
_one_at_a_time = threading.Lock()


class Transcribe(BaseModel):
    """What writes down the files of sound, where a folder has some."""

    model_config = ConfigDict(extra="forbid")
    use: Literal["none", "faster_whisper"] = Field(default="none", description="none: files of sound are refused")
    model: str = Field(default="small", description="a Whisper model's name (tiny to large-v3), or its folder")
    language: str | None = Field(default=None, description="spoken, e.g. de; None: found out for each file")

    def problems(self) -> list[str]:
        """What keeps it from working, one sentence each."""
        if self.use == "none":
            return []
        if not _version():
            return [f"source.transcribe: {PACKAGE} is not installed; {INSTALL}"]
        folder = Path(self.model)
        if (folder.is_absolute() or self.model.startswith((".", "~"))) and not folder.is_dir():
            return [
                f"source.transcribe.model: there is no folder {self.model!r}; take a name, such as small, or a folder"
            ]
        return []


class Job(Record):
    """One file to write down."""

    file: Path
    model: str
    language: str | None
    written: Path = Field(description="where each part goes as soon as it is written down, a line of JSON each")


class Segment(Record):
    """Some words and when they were said, in seconds."""

    start: float
    end: float
    text: str


class Part(Record):
    """What was said up to a moment, from the end of the part before."""

    end: float = Field(ge=0, description="seconds; the next part begins here")
    segments: list[Segment]
    left_out: dict[str, int] = Field(description="segments that are no speech, by reason")
    language: str | None = Field(description="spoken; None before anything was said")
    last: bool
    by: str = Field(description="the package and its version")


def written_down(file: Path) -> Iterator[Part]:
    """The parts in a file of them; a line that a kill cut short is none."""
    for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
        if line.endswith(b"\n"):
            yield Part.model_validate_json(line)


def is_written_down(file: Path) -> bool:
    """Whether the parts in a file go to the end of the sound."""
    return any(part.last for part in written_down(file))


def place_of(folder: Path, entry: Entry, settings: Transcribe) -> Path:
    """Where in `folder` the words of a talk are kept that one model wrote down."""
    what = json.dumps([entry.revision, settings.model, settings.language])
    return folder / f"{entry.document_id}-{sha256_of(what.encode())[:8]}.jsonl"


def read(file: Path, entry: Entry, settings: Transcribe, folder: Path | None = None) -> Document:
    """What is said in a file; `folder` keeps it. Raises Refused with the reason, SourceError without the model."""
    if settings.use == "none":
        raise Refused(
            f"it is sound, which is not written down; {INSTALL}, then --set source.transcribe.use=faster_whisper"
        )
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return _read(file, entry, settings, Path(temporary))
    folder.mkdir(parents=True, exist_ok=True)
    return _read(file, entry, settings, folder)


def read_fetched(fetch: Callable[[Path], Path], entry: Entry, settings: Transcribe, folder: Path | None) -> Document:
    """As `read`, of sound that `fetch` puts into `folder`, unless it was written down already; it is deleted after.

    After a kill it is still there, and `fetch` finds it.
    """
    if folder is None:
        raise SourceError("sound needs a folder to lie in while it is written down")
    if is_written_down(place_of(folder, entry, settings)):
        return read(folder / entry.document_id, entry, settings, folder)
    file = fetch(folder)
    try:
        document = read(file, entry, settings, folder)
    except Refused:
        file.unlink()
        raise
    file.unlink()
    return document


def _read(file: Path, entry: Entry, settings: Transcribe, folder: Path) -> Document:
    written = place_of(folder, entry, settings)
    if not is_written_down(written):
        job = Job(file=file.resolve(), model=settings.model, language=settings.language, written=written.resolve())
        with _one_at_a_time, progress.track(f"transcribe {entry.title}") as report:
            try:
                worker.call(WORKER, job, int, report)
            except WorkerFailed as error:
                raise Refused(f"Whisper ended on it: {error}") from None
    parts = list(written_down(written))
    segments = [segment for part in parts for segment in part.segments]
    if not segments:
        raise Refused("no speech is heard in it")
    captions = json.dumps({"segments": [one.model_dump() for one in segments]}).encode()
    document = caption_files.read(captions, entry, ".json")
    left_out = sum((Counter(part.left_out) for part in parts), start=Counter(document.left_out))
    changes = {
        "how": f"transcribed by {Path(settings.model).name} ({parts[-1].by})",
        "language": next((part.language for part in parts if part.language), None),
        "duration_seconds": round(parts[-1].end, 1),
        "left_out": dict(left_out),
    }
    return document.model_copy(update=changes)


def seconds(file: Path) -> float | None:
    """How long a file of sound is; None where it is none, or does not say."""
    if file.suffix.lower() not in SUFFIXES or not _version():
        return None
    import av

    try:
        with av.open(str(file)) as container:
            return float(container.duration) / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):
        return None


def _version() -> str | None:
    """Of the package that writes down; None where it is not installed."""
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return None
