"""A folder of talks: text, pages, books, captions and sound, every format that `understudy.readers` reads."""

import hashlib
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from understudy.errors import Refused
from understudy.readers import LIMIT_BYTES, READERS, read, sound, speakers
from understudy.records import Document, Entry, sha256_of
from understudy.sections import located
from understudy.text.words import slug

UNREADABLE = "unreadable"
"""The revision of a file that cannot be opened: it is another one as soon as it can be."""


class DocumentsSource:
    """Every readable file under `path`; one file is one talk, and duplicate files are one talk."""

    class Options(BaseModel):
        """Options under `source:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        path: Path = Field(
            description="the folder, relative to the current one; one file; package:NAME/FOLDER; or a list of them"
        )
        ignore: list[str] = Field(default=["README*", "LICENSE*"], description="file names that are not talks")
        min_words: int = Field(default=50, ge=1, description="a shorter file is refused")
        speaker: str | None = Field(
            default=None,
            description="whose talk it is where several speak: a name, or main; the others are context",
        )

        transcribe: sound.Transcribe = Field(
            default=sound.Transcribe(), description="writes down files of sound and video, with Whisper"
        )

        @model_serializer(mode="wrap")
        def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
            # Talks of homes that knew neither speaker nor sound are not read, and paid for, again.
            fields: dict[str, Any] = handler(self)
            unset = {"speaker"} if not self.speaker else set()
            unset |= {"transcribe"} if self.transcribe.use == "none" else set()
            return {name: value for name, value in fields.items() if name not in unset}

    VERSION = 1
    INDIFFERENT = {"path", "ignore"}
    complete = True
    polite = False
    notice = None

    def __init__(self, options: Options) -> None:
        self.options = options
        self.is_known: Callable[[str], bool] = lambda document_id: False
        self.path = located(options.path)
        self.sound_folder: Path | None = None

    @staticmethod
    def place(options: Options) -> str:
        """Which folder it is."""
        return str(options.path)

    def problems(self) -> list[str]:
        """Problems that make the folder unusable."""
        if not self.path.exists():
            return [f"source.path: there is no folder {str(self.options.path)!r}"]
        if not self._files():
            return [f"source.path: no file in {str(self.options.path)!r}; put talks there ({', '.join(READERS)})"]
        return self.options.transcribe.problems()

    def list_talks(self) -> Iterator[tuple[Entry, Refused | None]]:
        """Every file, by name, and why one is refused that cannot even be opened."""
        return map(self._listed, self._files())

    def entries(self) -> Iterator[Entry]:
        """Every file that can be opened, by name."""
        return (entry for entry, refusal in self.list_talks() if refusal is None)

    def _listed(self, file: Path) -> tuple[Entry, Refused | None]:
        name, refusal = self._name(file), None
        try:
            size = file.stat().st_size
            if file.suffix.lower() in sound.SUFFIXES:
                with file.open("rb") as content:
                    revision = hashlib.file_digest(content, "sha256").hexdigest()
            else:
                revision = sha256_of(file.read_bytes()) if size <= LIMIT_BYTES else f"{size} bytes"
        except OSError as error:
            revision, refusal = UNREADABLE, Refused(f"it cannot be read: {error.strerror}")
        plain = name.encode(errors="replace").decode()
        if plain != name:
            refusal = Refused("its name is not UTF-8; give it another name")
        title = _title(Path(plain).stem)
        return Entry(document_id=_identifier(name), title=title, locator=plain, revision=revision), refusal

    def fetch(self, entry: Entry) -> Document:
        """The whole file. Raises Refused with the reason."""
        file = self._file(entry)
        if file.suffix.lower() in sound.SUFFIXES:
            document = sound.read(file, entry, self.options.transcribe, self.sound_folder)
        else:
            document = read(file, entry)
        if document.words < self.options.min_words:
            raise Refused(
                f"only {document.words} words; a talk has at least {self.options.min_words} (source.min_words)"
            )
        return speakers.of_one(document, self.options.speaker)

    def seconds_of_sound(self, entry: Entry) -> float | None:
        """How long a talk is that has to be written down first; None for one that is only read."""
        return sound.seconds(self._file(entry))

    def _file(self, entry: Entry) -> Path:
        return self.path / entry.locator if self.path.is_dir() else self.path

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        files = (f for f in self.path.rglob("*") if f.is_file() and not any(p.startswith(".") for p in f.parts[-2:]))
        return sorted(f for f in files if not any(fnmatch(f.name, pattern) for pattern in self.options.ignore))

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if self.path.is_dir() else file.name


def _identifier(name: str) -> str:
    """A folder name for the file `name`: plain letters, and a digest where that loses anything."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    if plain == name and len(plain) <= 100:
        return plain
    digest = sha256_of(name.encode(errors="surrogateescape"))[:8]
    return f"{plain[:80].strip('-._') or 'file'}-{digest}"


def _title(stem: str) -> str:
    """'01-why-tea-cools' as 'Why tea cools'."""
    words = re.sub(r"^[0-9]+[-_. ]+", "", stem) or stem
    words = re.sub(r"[-_]+", " ", words).strip()
    return words[:1].upper() + words[1:]


def channel_name(path: Path) -> str:
    """A preset name for a folder, e.g. 'faraday' for './Lectures/Faraday'."""
    return slug(path.resolve().name)[:60] or "documents"
