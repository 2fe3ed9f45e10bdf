"""The store never serves an asset whose inputs differ, and never a half-written one."""

import errno
from pathlib import Path
from typing import IO

import pytest

from tests.unit.pairs import pair
from understudy import store
from understudy.errors import AssetError
from understudy.records import BaseCard, Interval, Message, Pair, Record
from understudy.seams import Disk

CARD = BaseCard(name="b", architecture="llama", parameters=1)


def write(home: Path, text: str, made_from: str = "f") -> store.AssetRef:
    data, rows = store.encode("data/x.jsonl", [Message(role="user", content=text)])
    return store.write_file(home, "train", "data/x.jsonl", data, rows, made_from)


def test_an_asset_is_fresh_only_for_what_it_was_made_from(tmp_path: Path) -> None:
    ref = write(tmp_path, "a", "one")
    assert store.fresh(tmp_path, "data/x.jsonl", "one") == ref
    assert store.fresh(tmp_path, "data/x.jsonl", "two") is None


def test_a_file_without_a_manifest_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "data/.x.jsonl.manifest.json").unlink()
    assert store.fresh(tmp_path, "data/x.jsonl", "f") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"fingerprint": 3}', b"\xff\xfe"])
def test_a_corrupt_manifest_makes_the_asset_stale_and_says_so(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "a")
    (tmp_path / "data/.x.jsonl.manifest.json").write_bytes(damage)
    assert store.fresh(tmp_path, "data/x.jsonl", "f") is None
    assert "corrupt" in caplog.text


def test_a_file_cut_short_is_not_fresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "a long enough row")
    file = tmp_path / "data/x.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert store.fresh(tmp_path, "data/x.jsonl", "f") is None
    assert "cut short" in caplog.text


def test_a_file_edited_by_hand_is_not_read(tmp_path: Path) -> None:
    ref = write(tmp_path, "a")
    file = tmp_path / "data/x.jsonl"
    file.write_bytes(file.read_bytes().replace(b"a", b"b"))
    with pytest.raises(AssetError, match="changed or vanished"):
        store.read_record(tmp_path, ref, Message)


@pytest.mark.parametrize("path", ["p/pairs.parquet", "p/pairs.jsonl"])
def test_rows_come_back_as_they_were_written(tmp_path: Path, path: str) -> None:
    refused = {"published": "2024-01-02", "tags": ["a", "b"], "kept": False, "gate": "length", "start_seconds": None}
    rows = [pair("d", 1), pair("d", 2).model_copy(update=refused)]
    data, count = store.encode(path, rows)
    ref = store.write_file(tmp_path, "pairs", path, data, count, "f")
    assert list(store.read_rows(tmp_path, ref, Pair)) == rows


def test_a_failing_build_leaves_the_old_folder_as_it_was(tmp_path: Path) -> None:
    def good(out: Path) -> Record:
        (out / "w.bin").write_bytes(b"old")
        return CARD

    def bad(out: Path) -> Record:
        (out / "w.bin").write_bytes(b"half")
        raise RuntimeError("killed")

    ref = store.build_folder(tmp_path, "base", "m/base/", good, "one")
    with pytest.raises(RuntimeError):
        store.build_folder(tmp_path, "base", "m/base/", bad, "two")
    assert (tmp_path / "m/base/w.bin").read_bytes() == b"old"
    assert store.fresh(tmp_path, "m/base/", "one") == ref
    assert store.read_record(tmp_path, ref, BaseCard) == CARD


def test_leftovers_are_handed_on_to_the_same_work_only(tmp_path: Path) -> None:
    seen = []

    def killed(out: Path) -> Record:
        seen.append(sorted(p.name for p in out.iterdir() if not p.name.startswith(".")))
        (out / "checkpoint").write_bytes(b"1")
        raise RuntimeError("killed")

    for made_from in ("one", "one", "two"):
        with pytest.raises(RuntimeError):
            store.build_folder(tmp_path, "base", "m/base/", killed, made_from)
    assert seen == [[], ["checkpoint"], []]


def test_a_large_file_keeps_its_card_in_the_manifest(tmp_path: Path) -> None:
    def make(out: Path) -> Record:
        out.write_bytes(b"GGUF")
        return CARD

    ref = store.build_file(tmp_path, "gguf", "m/x.gguf", make, "f")
    assert store.read_record(tmp_path, ref, BaseCard) == CARD
    assert store.fresh(tmp_path, "m/x.gguf", "f") == ref == store.latest(tmp_path, "m/x.gguf")


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path) -> None:
    def make(out: Path) -> Record:
        raise OSError(28, "No space left on device")

    with pytest.raises(AssetError, match="no space left"):
        store.build_folder(tmp_path, "base", "m/base/", make, "f")


def test_an_infinite_end_of_an_interval_comes_back() -> None:
    open_ended = Interval(value=1.0, low=float("-inf"), high=float("inf"), n=2)
    assert Interval.model_validate_json(open_ended.model_dump_json()) == open_ended


class FullDisk(Disk):
    """A disk on which `left` more files can be opened for writing."""

    def __init__(self, left: int) -> None:
        self.left = left

    def open(self, file: Path, mode: str) -> IO[bytes]:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "no space left")
        return super().open(file, mode)


@pytest.mark.parametrize(("left", "kept"), [(0, None), (1, None), (2, "new")])
def test_a_disk_that_fills_up_leaves_the_new_asset_or_none(tmp_path: Path, left: int, kept: str | None) -> None:
    write(tmp_path, "old", "1")
    row, full = (tmp_path / "data/x.jsonl").read_bytes().replace(b"old", b"new"), FullDisk(left)  # of one size
    try:
        store.write_file(tmp_path, "train", "data/x.jsonl", row, 1, "2", full)
    except AssetError as error:
        assert "no space left" in str(error)
    fresh = {"old": store.fresh(tmp_path, "data/x.jsonl", "1"), "new": store.fresh(tmp_path, "data/x.jsonl", "2")}
    assert [name for name, ref in fresh.items() if ref] == ([kept] if kept else [])


class UnsafeDisk(Disk):
    """A disk that fails before what was written is safe on it."""

    def fsync(self, file: Path) -> None:
        raise OSError(errno.EIO, "input/output error")


def test_a_failed_write_leaves_the_old_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(OSError, match="input/output"):
        store.replace(tmp_path / "x", b"new", UnsafeDisk())
    assert (tmp_path / "x").read_bytes() == b"old"
