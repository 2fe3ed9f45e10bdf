"""
One preset in one home folder: where its assets are, and whether they are fresh.

A workspace is plain data, so it can be a task argument. `graph` knows what assets are made from.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from pydantic.json_schema import SkipJsonSchema

from understudy import store
from understudy.catalog import CATALOG
from understudy.channel.ledger import Ledger
from understudy.config import Config
from understudy.records import AssetRef, Record
from understudy.seams import DISK, FileSystem


class Workspace(BaseModel):
    """The assets of one channel under `home`/data and `home`/models."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    home: Path
    config: Config
    disk: SkipJsonSchema[SkipValidation[FileSystem]] = Field(default=DISK, exclude=True, repr=False)

    @property
    def folder(self) -> Path:
        """What belongs to the channel: its ledger, documents and dataset."""
        return self.home / "data" / self.config.name

    @property
    def models(self) -> Path:
        """The folder of the channel's runs."""
        return self.home / "models" / self.config.name

    def run_folder(self, run: str) -> Path:
        """What belongs to one run."""
        return self.models / run

    @property
    def lock(self) -> Path:
        """The lock that a run of this channel holds."""
        return self.folder / ".lock"

    @property
    def verifier_folder(self) -> Path:
        """The folder of the verifier's calls: it is another model with its own bill."""
        return self.folder / "verify"

    @property
    def judge_folder(self) -> Path:
        """The folder of the judge's calls."""
        return self.folder / "judge"

    @property
    def ledger(self) -> Ledger:
        """What happened to each document."""
        return Ledger(self.folder / "ledger.sqlite", self.config.ledger)

    def path(self, name: str, **keys: str) -> str:
        """Where asset `name` lives, relative to the home folder."""
        return CATALOG[name].path.format(channel=self.config.name, **keys)

    def fresh(self, name: str, fingerprint: str, **keys: str) -> AssetRef | None:
        """The finished asset when it has this fingerprint, else None."""
        return store.fresh(self.home, self.path(name, **keys), fingerprint)

    def latest(self, name: str, **keys: str) -> AssetRef | None:
        """The finished asset on disk, whatever its fingerprint."""
        return store.latest(self.home, self.path(name, **keys))

    def save(self, name: str, rows: Iterable[Record], fingerprint: str, **keys: str) -> AssetRef:
        """Write records as asset `name`."""
        path = self.path(name, **keys)
        data, count = store.encode(path, rows)
        return store.write_file(self.home, name, path, data, count, fingerprint, self.disk)

    def save_text(self, name: str, text: str, fingerprint: str, **keys: str) -> AssetRef:
        """Write a page as asset `name`."""
        return store.write_file(self.home, name, self.path(name, **keys), text.encode(), 1, fingerprint, self.disk)

    def save_card(self, name: str, text: str, **keys: str) -> AssetRef:
        """Write a page of what is known now; nothing is written when the page is the same."""
        fingerprint = store.fingerprint(name, text)
        return self.fresh(name, fingerprint, **keys) or self.save_text(name, text, fingerprint, **keys)

    def build(self, name: str, make: Callable[[Path], Record], fingerprint: str, **keys: str) -> AssetRef:
        """The folder or large file asset `name`, filled by `make` unless it is fresh."""
        path = self.path(name, **keys)
        build = store.build_folder if path.endswith("/") else store.build_file
        return self.fresh(name, fingerprint, **keys) or build(self.home, name, path, make, fingerprint, self.disk)

    def read(self, ref: AssetRef) -> Any:
        """The one record of a JSON asset, or the card of a folder."""
        return store.read_record(self.home, ref, _record(ref))

    def rows(self, ref: AssetRef) -> list[Any]:
        """All records of an asset."""
        return list(store.read_rows(self.home, ref, _record(ref)))

    def file(self, ref: AssetRef) -> Path:
        """The asset's file or folder on this machine."""
        return self.home / ref.path


def _record(ref: AssetRef) -> type[Record]:
    record = CATALOG[ref.name].record
    assert record is not None, f"{ref.name} holds no records"
    return record
