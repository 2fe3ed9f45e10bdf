"""
Caption files brought in by hand for talks of a channel: the way round a blocked address.

`understudy import` copies them to data/<channel>/imported/<document_id>[.<language>]<ending>;
the next run reads a talk's file there instead of asking the source for it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from understudy.channel.ledger import Ledger, Row
from understudy.errors import Refused
from understudy.readers import READERS, caption_files, read
from understudy.records import Document, Entry, sha256_of
from understudy.store import replace

ENDINGS = {ending for ending, reader in READERS.items() if reader is caption_files.read}
_VIDEO = re.compile(r"(?:.*\[)?(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{11})(?:\]|(?=\.|$))(?:\.([A-Za-z][\w-]*))?$")
_ORIGINAL = "-orig"


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


class Brought(NamedTuple):
    """What becomes of one file: where its copy goes, or why there is none."""

    file: Path
    target: Path | None
    why: str | None = None


def bring(
    path: Path, channel: Path, prefix: str, languages: Sequence[str] = (), dry_run: bool = False
) -> Iterator[Brought]:
    """Copy a caption file of each video at `path` and note its talk as pending; of `dry_run`, only what would be.

    Of several files for a video the one in the first of `languages` is taken, else the one in the language that is
    spoken, where yt-dlp marks it with -orig, and one made by hand before one made by machine. Where nothing says which
    language is spoken, none is taken.
    """
    ledger, of_video = Ledger(channel / "ledger.sqlite") if not dry_run else None, dict[str, list[_Named]]()
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        match = _VIDEO.fullmatch(file.stem)
        if file.suffix.lower() not in ENDINGS:
            yield Brought(file, None, f"no caption file ({', '.join(sorted(ENDINGS))})")
        elif match is None:
            name = "name it like dQ4tW9WgXcQ.en.vtt or Title [dQ4tW9WgXcQ].en.vtt"
            yield Brought(file, None, f"no video id in its name; {name}")
        else:
            of_video.setdefault(match[1], []).append(_Named(file, match[2]))
    for video, named in of_video.items():
        ranked = sorted(named, key=lambda one: _rank(one, named, languages))
        if choice := _undecided(ranked[0], named, languages):
            which = f"files in {' and '.join(choice)} for video {video}; say which is spoken: --language {choice[0]}"
            yield from (Brought(one.file, None, which) for one in named)
            continue
        entry, taken = Entry(document_id=f"{prefix}{video}", title=video, locator=video, revision=""), ""
        for file, language in ranked:
            if taken:
                yield Brought(file, None, f"{taken} is taken for video {video}")
                continue
            try:
                read(file, entry)
            except Refused as why:
                yield Brought(file, None, str(why))
                continue
            tag, taken = f".{language}" if language else "", file.name
            target = channel / "imported" / f"{entry.document_id}{tag}{file.suffix.lower()}"
            if ledger:
                _copy(file, target, video, ledger, entry)
            yield Brought(file, target)


class _Named(NamedTuple):
    file: Path
    language: str | None


def _undecided(best: _Named, named: Sequence[_Named], languages: Sequence[str]) -> list[str]:
    """The languages of several files for a video where nothing says which is the one spoken."""
    tags = sorted({(one.language or "").partition("-")[0] for one in named} - {""})
    tag = best.language or ""
    known = tag in languages or tag.partition("-")[0] in languages
    marked = any((one.language or "").endswith(_ORIGINAL) for one in named)
    return tags if len(tags) > 1 and not known and not marked else []


def _rank(one: _Named, all_of_video: Sequence[_Named], languages: Sequence[str]) -> tuple[int, bool, bool, str]:
    """What is taken first sorts first."""
    tag = one.language or ""
    spoken = {other.language.removesuffix(_ORIGINAL) for other in all_of_video
              if other.language and other.language.endswith(_ORIGINAL)}  # fmt: skip
    plain = tag.partition("-")[0]
    wanted = next((at for at, language in enumerate(languages) if language in (tag, plain)), len(languages))
    return wanted, bool(spoken) and plain not in spoken, tag.endswith(_ORIGINAL), one.file.name


def _copy(file: Path, target: Path, video: str, ledger: Ledger, entry: Entry) -> None:
    """Put the file where the next run looks, in place of an earlier one, and note the talk as pending."""
    row, revision = ledger.get(entry.document_id), sha256_of(file.read_bytes())
    title = row.title if row else re.sub(rf"\s*\[{video}\].*$", "", file.name).split(f"{video}.")[0] or video
    if (before := files(target.parents[1]).get(entry.document_id)) and before != target:
        before.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    replace(target, file.read_bytes())
    row = row or Row(entry.document_id, title, video, revision, "pending")
    if row.status != "ok" or row.revision != revision:
        row = row._replace(revision=revision, status="pending", reason=None, attempts=0, next_try=None)
    ledger.record(row)
