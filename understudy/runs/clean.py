"""
The heavy files of old runs: which can be deleted, and how much disk they take.

The adapter, the record, the scorecard and the report of a run always stay; what was made from the adapter
(the fused model, the GGUF files) and what only a resumed training reads is deleted. The newest runs, the champion and
the one before it, which a rollback needs, and every published run are kept complete.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from understudy import store
from understudy.records import Manifest
from understudy.runs import champion

HEAVY = ("fused", "gguf")
CHECKPOINTS = ("last", "checkpoints")
"""Folders of the adapter that only a resumed training reads."""
LEFTOVERS = (".*.partial", ".*.old", ".*.tmp")
PUBLISHED = "published.json"


class Heavy(NamedTuple):
    """What can be deleted of one run."""

    run: Path
    paths: list[Path]
    bytes: int


def old_files(models: Path, keep: int) -> list[Heavy]:
    """What can be deleted in models/<channel> when the newest `keep` runs stay complete, the newest run first."""
    runs = [run for run in champion.runs(models) if champion.AGAIN not in run.name]
    newest = sorted(runs, key=_trained_at, reverse=True)
    champions = champion.succession(champion.history(models))[-2:]
    current = champion.current(models)
    safe = {run.name for run in newest[:keep]} | {*champions} | ({current.name} if current else set())
    old = [run for run in newest if run.name not in safe and not (run / PUBLISHED).exists()]
    heavy = [Heavy(run, paths, sum(map(size, paths))) for run in old if (paths := list(_heavy(run)))]
    return heavy


def delete(heavy: Iterable[Heavy]) -> None:
    """Delete these files; an adapter stays complete without its checkpoints."""
    for run, paths, _ in heavy:
        _without_checkpoints(run / "adapter")
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def mark_published(run: Path, address: str) -> None:
    """Note in the run's folder that it was published, so that its files are kept."""
    note = {"address": address, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    store.replace(run / PUBLISHED, json.dumps(note).encode())


def size(path: Path) -> int:
    """The bytes of a file, or of all files below a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if path.is_file() else 0
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def megabytes(count: int) -> str:
    """`count` bytes in megabytes, for display."""
    return f"{count / 1e6:,.1f} MB"


def _heavy(run: Path) -> Iterator[Path]:
    paths = [run / name for name in HEAVY] + [run / "adapter" / name for name in CHECKPOINTS]
    paths += [path for pattern in LEFTOVERS for path in sorted(run.glob(pattern))]
    return (path for path in paths if path.exists() and not path.is_symlink())


def _trained_at(run: Path) -> float:
    """When the training began, as its record says; else when its folder changed last."""
    try:
        return datetime.fromisoformat(json.loads((run / "run.json").read_bytes())["began"]).timestamp()
    except (OSError, ValueError, TypeError, KeyError):
        return (run / "adapter").stat().st_mtime


def _without_checkpoints(adapter: Path) -> None:
    """Take the checkpoints out of the adapter's manifest before they are deleted, so that it is not trained again."""
    try:
        manifest = Manifest.model_validate_json((adapter / store.MANIFEST).read_bytes())
    except (OSError, ValueError):
        return
    files = {name: size for name, size in manifest.files.items() if name.split("/")[0] not in CHECKPOINTS}
    if files != manifest.files:
        data = manifest.model_copy(update={"files": files}).model_dump_json().encode()
        store.replace(adapter / store.MANIFEST, data)
