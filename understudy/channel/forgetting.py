"""
Deletes everything that was derived from a talk: its words, pairs, a teacher's replies, people's decisions.

The plan of the split stays, without its rows, so that what is held out of the other talks stays held out. Datasets that
were combined of it go too; they are combined again.
"""

import glob
import shutil
from collections.abc import Sequence
from pathlib import Path

from understudy import store
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.catalog import CATALOG
from understudy.channel import decisions, imported
from understudy.channel.ledger import Ledger, Row
from understudy.records import Combined, SplitPlan


def forget(folder: Path, rows: Sequence[Row]) -> None:
    """Delete the talks of `rows` from the channel in `folder`; the next run builds its dataset without them."""
    ids = {row.document_id for row in rows}
    brought = imported.files(folder)
    for calls in (folder / CALLS, folder / "verify" / CALLS, folder / "judge" / CALLS):
        call_ledger = CallLedger(calls)
        call_ledger.forget(ids)
        call_ledger.close()
    for name in ids:
        shutil.rmtree(folder / "documents" / name, ignore_errors=True)
        if name in brought:
            brought[name].unlink()
        for file in (folder / "sound").glob(f"{glob.escape(name)}[-.]*"):
            file.unlink()
    decisions.forget(folder, ids)
    _forget_rows(folder, ids)
    ledger = Ledger(folder / "ledger.sqlite")
    for row in rows:
        excluded = row._replace(status="excluded", reason="forgotten on request")
        ledger.record(excluded._replace(next_try=None, words=None, sha256=None))
    ledger.close()


def _forget_rows(folder: Path, ids: set[str]) -> None:
    """Keep of the dataset only which talk is in which split, without the forgotten."""
    home, path = folder.parents[1], CATALOG["split"].path.format(channel=folder.name)
    ref = store.latest(home, path)
    plan: SplitPlan | None = store.read_record(home, ref, SplitPlan) if ref else None
    for kept in folder.glob("dataset@*"):  # rows of earlier runs, which hold the same words
        shutil.rmtree(kept, ignore_errors=True)
    for file in list(folder.parent.glob("*/dataset/combined.json")):  # made again by `understudy combine`
        if folder.name in {one.channel for one in Combined.model_validate_json(file.read_bytes()).sets}:
            for made in (file.parent, file.parents[1] / "documents", *file.parents[1].glob("dataset@*")):
                shutil.rmtree(made, ignore_errors=True)
    dataset = folder / "dataset"
    if plan is None:
        shutil.rmtree(dataset, ignore_errors=True)
    else:  # written before the rest goes: a kill in between must not free what is held out
        left = plan.model_copy(
            update={
                "splits": {split: [n for n in names if _talk(n) not in ids] for split, names in plan.splits.items()},
                "documents": {split: [n for n in names if n not in ids] for split, names in plan.documents.items()},
                "dropped": [row for row in plan.dropped if _talk(row.pair_id) not in ids],
                "leakage": plan.leakage.model_copy(update={"shared_words": []}),
            }
        )
        data, count = store.encode(path, [left])
        store.write_file(home, "split", path, data, count, "left after forgetting")
        file = home / path
        for other in dataset.iterdir():
            if other.name not in (file.name, f".{file.name}{store.MANIFEST}"):
                shutil.rmtree(other) if other.is_dir() else other.unlink()


def _talk(pair_id: str) -> str:
    return pair_id.rsplit("#", 1)[0]
