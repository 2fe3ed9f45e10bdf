"""A folder of talks: plain text, markdown, and captions with their times."""

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from understudy import captions
from understudy.errors import Refused, SourceError
from understudy.records import Document, Entry, Paragraph, sha256_of
from understudy.text import sentences, slug

CHECKOUT = Path(__file__).parents[2]
LIMIT_BYTES = 25 * 1024 * 1024
PARAGRAPH_WORDS = 110


class DocumentsSource:
    """Every readable file under `path`; one file is one talk, and the same content twice is one talk."""

    class Options(BaseModel):
        """Options under `source:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        path: Path = Field(description="the folder, relative to where you are or to the checkout; or one file")
        ignore: list[str] = Field(default=["README*", "LICENSE*"], description="file names that are not talks")
        min_words: int = Field(default=50, ge=1, description="a shorter file is refused")

    VERSION = 1
    INDIFFERENT = {"path", "ignore"}
    complete = True

    def __init__(self, options: Options) -> None:
        self.options = options
        self.path = options.path if options.path.exists() else CHECKOUT / options.path

    def problems(self) -> list[str]:
        """What makes the folder unusable."""
        if not self.path.exists():
            return [f"source.path: there is no folder {str(self.options.path)!r}"]
        if not self._files():
            return [f"source.path: no file in {str(self.options.path)!r}; put talks there ({', '.join(READERS)})"]
        return []

    def entries(self) -> Iterator[Entry]:
        """Every file, by name."""
        for file in self._files():
            name = self._name(file)
            try:
                size = file.stat().st_size
                revision = sha256_of(file.read_bytes()) if size <= LIMIT_BYTES else f"{size} bytes"
            except OSError as error:
                raise SourceError(f"{name} cannot be read: {error.strerror}") from error
            yield Entry(document_id=_identifier(name), title=_title(file.stem), locator=name, revision=revision)

    def fetch(self, entry: Entry) -> Document:
        """The whole file. Raises Refused with the reason."""
        file = self.path / entry.locator if self.path.is_dir() else self.path
        reader = READERS.get(file.suffix.lower())
        if reader is None:
            raise Refused(f"files of type {file.suffix or 'without ending'} are not read; use {', '.join(READERS)}")
        document = reader(_decode(file), entry, file.suffix.lower())
        if document.words < self.options.min_words:
            raise Refused(
                f"only {document.words} words; a talk has at least {self.options.min_words} (source.min_words)"
            )
        return document

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        found = (f for f in self.path.rglob("*") if f.is_file() and not any(p.startswith(".") for p in f.parts[-2:]))
        return sorted(f for f in found if not any(fnmatch(f.name, pattern) for pattern in self.options.ignore))

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if self.path.is_dir() else file.name


def _identifier(name: str) -> str:
    """A folder name for the file `name`: what is lost by the plain letters comes back as a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    if plain == name and len(plain) <= 100:
        return plain
    return f"{plain[:80].strip('-._') or 'file'}-{sha256_of(name.encode())[:8]}"


def _title(stem: str) -> str:
    """'01-why-tea-cools' as 'Why tea cools'."""
    words = re.sub(r"^[0-9]+[-_. ]+", "", stem) or stem
    words = re.sub(r"[-_]+", " ", words).strip()
    return words[:1].upper() + words[1:]


def _decode(file: Path) -> str:
    """The text of `file`: UTF-8, UTF-16 with its mark, else Windows-1252. Raises Refused for anything else."""
    if file.stat().st_size > LIMIT_BYTES:
        raise Refused(f"larger than {LIMIT_BYTES // 1024 // 1024} MB")
    raw = file.read_bytes()
    if not raw.strip():
        raise Refused("the file is empty")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if b"\0" in raw:
        raise Refused("a binary file, not text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    if sum(c == "\ufffd" or (ord(c) < 32 and c not in "\t\n\r\f") for c in text) > len(text) / 100:
        raise Refused("a binary file, not text")
    return text


def _read_captions(text: str, entry: Entry, suffix: str) -> Document:
    cues = captions.parse(text, suffix)
    paragraphs, noise = captions.clean(cues)
    if not paragraphs:
        raise Refused("the captions hold no words")
    told = captions.note(text) if suffix == ".vtt" else {}
    language = re.search(r"^Language:\s*([A-Za-z-]+)", text, re.MULTILINE)
    return Document(
        document_id=entry.document_id,
        title=told.get("title") or entry.title,
        locator=entry.locator,
        how=f"captions {suffix}",
        language=language.group(1) if language else None,
        published=told.get("published"),
        duration_seconds=round(max(cue.end for cue in cues), 1),
        noise_tags=noise,
        paragraphs=paragraphs,
    )


def _read_text(text: str, entry: Entry, suffix: str) -> Document:
    told, text = _front_matter(text) if suffix == ".md" else ({}, text)
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if block.strip()]
    title = told.get("title") or _heading(blocks) or entry.title
    paragraphs = [Paragraph(text=piece) for piece in _pieces(blocks)]
    if not paragraphs:
        raise Refused("the file holds a heading and no text")
    published = told.get("published") or told.get("date")
    return Document(
        document_id=entry.document_id,
        title=title,
        locator=entry.locator,
        how=f"text {suffix}",
        language=told.get("language"),
        published=published,
        paragraphs=paragraphs,
    )


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    found = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    if not found:
        return {}, text
    try:
        told = yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        raise Refused(f"the front matter is not YAML: {str(error).splitlines()[0]}") from None
    told = told if isinstance(told, dict) else {}
    return {str(k).lower(): str(v) for k, v in told.items() if v is not None}, text[found.end() :]


def _heading(blocks: list[str]) -> str | None:
    """The title, taken off the first block: a markdown heading, or a short first line without a full stop."""
    if not blocks:
        return None
    first, *rest = blocks[0].split("\n")
    line = first.lstrip("# ").strip()
    if not first.startswith("#") and (
        len(line) > 90 or line.endswith((".", "!", "?", ",")) or (not rest and len(blocks) < 2)
    ):
        return None
    blocks[0:1] = ["\n".join(rest)] if rest else []
    return line


def _pieces(blocks: list[str]) -> Iterator[str]:
    """Paragraphs of about 110 words: short blocks join what follows, long ones are cut between sentences."""
    gathered: list[str] = []
    for block in blocks:
        plain = " ".join(re.sub(r"^#+\s+", "", block).replace("--", " -- ").split())
        for sentence in sentences(plain):
            gathered.append(sentence)
            if sum(len(s.split()) for s in gathered) >= PARAGRAPH_WORDS:
                yield " ".join(gathered)
                gathered = []
        if sum(len(s.split()) for s in gathered) >= PARAGRAPH_WORDS // 3:
            yield " ".join(gathered)
            gathered = []
    if gathered:
        yield " ".join(gathered)


READERS: dict[str, Callable[[str, Entry, str], Document]] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".vtt": _read_captions,
    ".srt": _read_captions,
    ".xml": _read_captions,
}


def channel_name(path: Path) -> str:
    """A preset name for a folder, e.g. 'faraday' for './Lectures/Faraday'."""
    return slug(path.resolve().name)[:60] or "documents"
