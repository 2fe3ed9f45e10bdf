"""
The rows that a run was trained on, kept under their digest: `data/<channel>/dataset@<digest>/`.

They are hard links where the file system has them, so they take no room until the dataset grows: a file of a dataset is
always replaced, never written into. Other file systems get copies.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from understudy.records import AssetRef, DatasetRefs, RunRecord, Snapshot, sha256_of
from understudy.runs.run_record import dataset_fingerprint
from understudy.workspace import Workspace

PREFIX = "dataset@"
DIGITS = 16


def keep(workspace: Workspace, dataset: DatasetRefs) -> AssetRef:
    """The snapshot of train, valid and test with their split; one for all runs on the same rows."""
    digest = dataset_fingerprint(dataset)
    refs = [ref for ref in (dataset.split, dataset.train, dataset.valid, dataset.test) if workspace.file(ref).is_file()]

    def make(out: Path) -> Snapshot:
        for ref in refs:
            _link(workspace.file(ref), out / PurePosixPath(ref.path).name)
        return Snapshot(digest=digest, files=[ref.path for ref in refs])

    return workspace.build("snapshot", make, digest, digest=digest[:DIGITS])


def file(home: Path, record: RunRecord, ref: AssetRef) -> Path:
    """Where the rows of a run are now: in the dataset while they are the same there, else in its snapshot."""
    current = home / ref.path
    kept = _folder(home, record) / current.name
    return kept if kept.is_file() and not _same(current, ref) and _same(kept, ref) else current


def unused(home: Path, channel: str) -> list[Path]:
    """The snapshots of a channel that no run's record refers to."""
    used = {str(known)[:DIGITS] for known in _digests(home / "models" / channel)}
    folders = sorted((home / "data" / channel).glob(f"{PREFIX}*"))
    return [folder for folder in folders if folder.name.removeprefix(PREFIX) not in used]


def _digests(models: Path) -> Iterator[object]:
    for record in models.glob("*/run.json"):
        try:
            yield json.loads(record.read_bytes())["dataset_fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # rerun says what is wrong with it


def _folder(home: Path, record: RunRecord) -> Path:
    return home / "data" / record.channel / f"{PREFIX}{record.dataset_fingerprint[:DIGITS]}"


def _same(file: Path, ref: AssetRef) -> bool:
    return file.is_file() and sha256_of(file.read_bytes()) == ref.sha256


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
