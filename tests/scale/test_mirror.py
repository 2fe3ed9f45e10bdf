"""A channel copied to a folder, and to an S3 of this machine, and back: whole, manifests last, nothing twice."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy import mirror, store
from understudy.catalog import CATALOG, is_asset
from understudy.channel.ledger import Ledger, Row
from understudy.errors import AssetError, Busy, ConfigError
from understudy.locks import held
from understudy.mirror import copies, there, tree
from understudy.mirror.there import There
from understudy.records import Entry
from understudy.runs import champion

ENTRY = Entry(document_id="a", title="A", locator="a.txt", revision="1")


def channel(home: Path) -> Path:
    """A file asset, a folder asset, a ledger and a loose file."""
    data, rows = store.encode("document.json", [ENTRY])
    store.write_file(home, "document", "data/tea/documents/a/document.json", data, rows, "f1")

    def make(folder: Path) -> Entry:
        (folder / "weights.bin").write_bytes(b"w" * 5000)
        return ENTRY

    store.build_folder(home, "adapter", "models/tea/run/adapter/", make, "f2")
    Ledger(home / "data/tea/ledger.sqlite").record(Row("a", "A", "a.txt", "1", "ok"))
    (home / "data/tea/decisions.jsonl").write_text("{}\n")
    return home


def digests(home: Path) -> dict[str, str]:
    files = (f for top in ("data", "models") for f in (home / top).rglob("*"))
    return {
        f.relative_to(home).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file() and not f.name.endswith((".lock", "-wal", "-shm", ".sqlite"))
    }


def test_what_was_pushed_is_pulled_whole_and_nothing_is_copied_twice(url: str, tmp_path: Path) -> None:
    home, other = channel(tmp_path / "home"), tmp_path / "other"
    assert mirror.push(home, "tea", url).files == 7
    assert mirror.push(home, "tea", url).files == 0
    assert mirror.pull(other, "tea", url).files == 7
    assert digests(other) == digests(home)
    assert store.fresh(other, "models/tea/run/adapter/", "f2") and mirror.pull(other, "tea", url).files == 0
    assert Ledger(other / "data/tea/ledger.sqlite").rows() == Ledger(home / "data/tea/ledger.sqlite").rows()
    store.write_file(home, "document", "data/tea/documents/a/document.json", b"{}", 1, "f3")
    assert mirror.push(home, "tea", url).files == 2
    assert mirror.pull(other, "tea", url).files == 2 and digests(other) == digests(home)


def breaks_off(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """The line is gone at the `last`-th write."""
    left = iter([True] * last)

    def unless_gone(write: Callable[..., None]) -> Callable[..., None]:
        def written(*told: object) -> None:
            if not next(left, False):
                raise ConnectionError("gone")
            write(*told)

        return written

    for name in ("write", "upload"):
        monkeypatch.setattr(There, name, unless_gone(getattr(There, name)))


@pytest.mark.parametrize("last", range(7))
def test_a_push_that_breaks_off_leaves_no_manifest_without_its_asset(
    tmp_path: Path, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, url = channel(tmp_path / "home"), f"file://{tmp_path}/there"
    breaks_off(monkeypatch, last)
    with pytest.raises(AssetError, match="the next time goes on from there"):
        mirror.push(home, "tea", url)
    monkeypatch.undo()
    for manifest in (tmp_path / "there").rglob(f"*{store.MANIFEST}"):
        told = store.Manifest.model_validate_json(manifest.read_bytes())
        assert store.fresh(tmp_path / "there", told.asset.path, told.fingerprint)
    mirror.push(home, "tea", url)
    mirror.pull(tmp_path / "other", "tea", url)
    assert digests(tmp_path / "other") == digests(home)


def test_a_file_that_is_not_what_its_manifest_says_is_not_copied(tmp_path: Path) -> None:
    home = channel(tmp_path / "home")
    (home / "data/tea/documents/a/document.json").write_text("changed")
    with pytest.raises(AssetError, match="not what its manifest says"):
        mirror.push(home, "tea", f"file://{tmp_path}/there")


def test_bad_addresses_and_a_channel_at_work_are_said(tmp_path: Path) -> None:
    home = channel(tmp_path / "home")
    with pytest.raises(ConfigError, match="nothing of 'tea'"):
        mirror.pull(home, "tea", f"file://{tmp_path}/nowhere")
    with pytest.raises(ConfigError, match="'foo://x' cannot be used"):
        mirror.push(home, "tea", "foo://x")
    with held(home / "data/tea/.lock", "data/tea"):
        import subprocess
        import sys

        program = (
            f"from understudy import mirror; from pathlib import Path; mirror.push(Path({str(home)!r}), 'tea', 'x')"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert Busy.__name__ in done.stderr and "in use by process" in done.stderr


def test_the_champion_comes_along(tmp_path: Path) -> None:
    here, url = channel(tmp_path / "here"), f"file://{tmp_path}/there"
    champion.promote(here / "models/tea", "run", ["better"])
    mirror.push(here, "tea", url)
    mirror.pull(tmp_path / "other", "tea", url)
    champion.restore(tmp_path / "other/models/tea")
    assert champion.current(tmp_path / "other/models/tea") == tmp_path / "other/models/tea/run"


def test_large_files_travel_in_pieces_and_what_is_here_stays_where_the_copy_is_broken(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "SMALL_BYTES", 1000)
    here, other = channel(tmp_path / "here"), tmp_path / "other"
    mirror.push(here, "tea", url)
    assert mirror.pull(other, "tea", url).files == 7
    assert digests(other) == digests(here)
    (other / "models/tea/run/adapter/weights.bin").write_bytes(b"older")
    There.at(url).write("models/tea/run/adapter/weights.bin", b"x" * 5000)
    with pytest.raises(AssetError, match="models/tea/run/adapter/ is not what its manifest says"):
        mirror.pull(other, "tea", url)
    assert (other / "models/tea/run/adapter/weights.bin").read_bytes() == b"older"
    assert not list(tmp_path.rglob("*.coming"))


@pytest.mark.parametrize(
    "name", ["data/tea/../../etc/passwd", "data/other/documents/a/document.json", "data/tea//x", "/etc/passwd"]
)
def test_a_name_that_leads_out_of_the_channel_stops_a_pull(name: str) -> None:
    with pytest.raises(AssetError, match="which is no file of a channel"):
        tree.sound([name], "data/tea", "s3://bucket")


def test_only_what_the_catalog_knows_is_an_asset() -> None:
    names = ["data/tea/.manifest.json", "models/bases/q/.manifest.json", "data/tea/.x.manifest.json"]
    names.append("data/tea/dataset/.pairs.parquet.manifest.json")
    assert set(tree.assets(names)) == {"models/bases/q/", "data/tea/dataset/pairs.parquet"}
    for name, (_, path, *_) in CATALOG.items():
        keys = {"channel": "tea", "document": "a", "run": "r", "base": "b", "type": "F16", "candidate": "tuned",
                "format": "alpaca", "trial": "t", "place": "tea/r"}  # fmt: skip
        assert is_asset(path.format(**keys)), name
    told = b'{"fingerprint": "f", "asset": {"name": "base", "path": "../x", "rows": 1, "bytes": 1, "sha256": "0"}}'
    assert tree.parsed(told, "models/bases/q/") is None, "a manifest speaks for its own place only"


@pytest.mark.parametrize("url", ["/mnt/nas", "file://", "sftp://me:secret@host/x", "s3://bucket/[a]"])
def test_an_address_that_can_be_none_is_refused_and_not_repeated(url: str) -> None:
    problem = there.problem(url)
    assert problem and "secret" not in problem
