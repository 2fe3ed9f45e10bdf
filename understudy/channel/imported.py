"""
Caption files brought in by hand for talks of a channel: the way round a blocked address.

`understudy import` copies them to data/<channel>/imported/<document_id>[.<language>]<ending>;
the next run reads a talk's file there instead of asking the source for it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from understudy.channel.ledger import Ledger, Row
from understudy.errors import Refused
from understudy.readers import READERS, caption_files, read
from understudy.records import Document, Entry, sha256_of
from understudy.store import replace

ENDINGS = {ending for ending, reader in READERS.items() if reader is caption_files.read}
_VIDEO = re.compile(r"(?:.*\[)?(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{11})(?:\]|(?=\.|$))(?:\.([A-Za-z-]+))?$")


def files(channel: Path) -> dict[str, Path]:
    """Document id > the file that was brought in for it, under data/<channel>."""
    folder = channel / "imported"
    present = (f for f in sorted(folder.glob("*")) if f.suffix in ENDINGS) if folder.is_dir() else ()
    return {file.name.split(".")[0]: file for file in present}


def revised(entry: Entry, file: Path) -> Entry:
    """The entry of a talk whose words come from `file`: another file is another talk to read."""
    return entry.model_copy(update={"revision": sha256_of(file.read_bytes())})


def document(file: Path, entry: Entry) -> Document:
    """The whole talk from its file. Raises Refused with the reason."""
    talk = read(file, entry)
    language = talk.language or (file.name.split(".")[1] if file.name.count(".") == 2 else None)
    changes = {"how": f"imported {talk.how}", "language": language, "published": talk.published or entry.published}
    return talk.model_copy(update=changes)


def bring(path: Path, channel: Path, prefix: str) -> Iterator[tuple[Path, str | None]]:
    """Copy each caption file at `path` and note its talk as pending; yields it with the reason where it was not."""
    ledger = Ledger(channel / "ledger.sqlite")
    already: set[str] = set()
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        match = _VIDEO.fullmatch(file.stem)
        if file.suffix.lower() not in ENDINGS:
            yield file, f"no caption file ({', '.join(sorted(ENDINGS))})"
        elif match is None:
            yield file, "no video id in its name; name it like dQ4tW9WgXcQ.en.vtt or Title [dQ4tW9WgXcQ].en.vtt"
        elif match[1] in already:
            yield file, f"a second file for video {match[1]}"
        else:
            try:
                _bring_one(file, match[1], match[2], ledger, channel, prefix)
            except Refused as why:
                yield file, str(why)
            else:
                already.add(match[1])
                yield file, None


def _bring_one(file: Path, video: str, language: str | None, ledger: Ledger, channel: Path, prefix: str) -> None:
    row = ledger.get(f"{prefix}{video}")
    title = row.title if row else re.sub(rf"\s*\[{video}\].*$", "", file.name).split(f"{video}.")[0] or video
    entry = Entry(document_id=f"{prefix}{video}", title=title, locator=video, revision=sha256_of(file.read_bytes()))
    read(file, entry)
    target = channel / "imported" / f"{entry.document_id}{f'.{language}' if language else ''}{file.suffix.lower()}"
    if (before := files(channel).get(entry.document_id)) and before != target:
        before.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    replace(target, file.read_bytes())
    row = row or Row(entry.document_id, title, video, entry.revision, "pending")
    if row.status != "ok" or row.revision != entry.revision:
        row = row._replace(revision=entry.revision, status="pending", reason=None, attempts=0, next_try=None)
    ledger.record(row)
