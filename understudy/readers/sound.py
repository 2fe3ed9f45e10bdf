"""
Files of sound and video: Whisper writes down what is said, in a process of its own, one file at a time.

What Whisper hears where there is no speech is dropped and counted: stretches without speech, and words that go round in
circles.
"""

import json
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy import progress, worker
from understudy.errors import Refused, WorkerFailed
from understudy.readers import caption_files
from understudy.records import Document, Entry, Record

SUFFIXES = (".mp3", ".m4a", ".wav", ".ogg", ".opus", ".flac", ".mp4", ".webm", ".mkv", ".mov")
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


class Segment(Record):
    """Some words and when they were said, in seconds."""

    start: float
    end: float
    text: str


class Heard(Record):
    """All that was said in a file."""

    segments: list[Segment]
    language: str
    seconds: float
    left_out: dict[str, int] = Field(description="segments that are no speech, by reason")


def read(file: Path, entry: Entry, settings: Transcribe) -> Document:
    """What is said in a file. Raises Refused with the reason, SourceError without the model."""
    if settings.use == "none":
        raise Refused(
            f"it is sound, which is not written down; {INSTALL}, then --set source.transcribe.use=faster_whisper"
        )
    job = Job(file=file.resolve(), model=settings.model, language=settings.language)
    with _one_at_a_time, progress.track(f"transcribe {entry.title}") as report:
        try:
            heard = worker.call(WORKER, job, Heard, report)
        except WorkerFailed as error:
            raise Refused(f"Whisper ended on it: {error}") from None
    if not heard.segments:
        raise Refused("no speech is heard in it")
    captions = json.dumps({"segments": [one.model_dump() for one in heard.segments]}).encode()
    document = caption_files.read(captions, entry, ".json")
    changes = {
        "how": f"transcribed by {Path(settings.model).name} ({PACKAGE} {_version()})",
        "language": heard.language,
        "duration_seconds": round(heard.seconds, 1),
        "left_out": document.left_out | heard.left_out,
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
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None
