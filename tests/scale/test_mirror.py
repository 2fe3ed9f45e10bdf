"""A channel copied to a folder, and to an S3 of this machine, and back: whole, manifests last, nothing twice."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scale import services
from understudy import champion, forgetting, mirror, store
from understudy.errors import AssetError, Busy, ConfigError
from understudy.ledger import Ledger, Row
from understudy.locks import held
from understudy.mirror import tree
from understudy.mirror.there import There
from understudy.records import AssetRef, Entry

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


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with services.s3():
        yield "s3://bucket"


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own for each test."""
    if request.param == "file":
        return f"file://{tmp_path}/there"
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


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
    with pytest.raises(AssetError, match="the same command goes on from there"):
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


def saved(home: Path, name: str, words: bytes, made_from: str) -> AssetRef:
    return store.write_file(home, "document", f"data/tea/documents/{name}/document.json", words, 1, made_from)


def test_two_homes_that_meet_have_what_both_made(url: str, tmp_path: Path) -> None:
    here, other = channel(tmp_path / "here"), tmp_path / "other"
    mirror.push(here, "tea", url)
    saved(other, "b", b"{}", "f9")
    mirror.meet(other, "data/tea", url)
    mirror.meet(here, "data/tea", url)
    for home in (here, other):
        assert store.fresh(home, "data/tea/documents/a/document.json", "f1")
        assert store.fresh(home, "data/tea/documents/b/document.json", "f9")
        assert (home / "data/tea/decisions.jsonl").read_text() == "{}\n"


def test_where_both_have_an_asset_the_shared_one_counts(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    for home, words in ((here, b"old"), (other, b"newer")):
        mirror.keep(home, saved(home, "a", words, words.decode()), url)
    (here / "data/tea/decisions.jsonl").write_text("mine")
    (other / "data/tea/decisions.jsonl").write_text("theirs")
    mirror.push(other, "tea", url)
    mirror.meet(here, "data/tea/documents/a", url)
    assert store.fresh(here, "data/tea/documents/a/document.json", "newer")
    mirror.meet(here, "data/tea", url)
    assert (here / "data/tea/decisions.jsonl").read_text() == "mine", "what people decided here is not replaced"


def test_an_asset_is_found_by_what_it_was_made_from_and_brought_by_its_digest(url: str, tmp_path: Path) -> None:
    here, other = channel(tmp_path / "here"), tmp_path / "other"
    mirror.push(here, "tea", url)
    folder = "models/tea/run/adapter/"
    assert mirror.find(other, folder, "another", url) is None and not (other / folder).exists()
    (other / folder).mkdir(parents=True)
    (other / folder / "left.bin").write_bytes(b"of an older one")
    found = mirror.find(other, folder, "f2", url)
    assert found == store.fresh(here, folder, "f2") and (other / folder / "weights.bin").stat().st_size == 5000
    assert not (other / folder / "left.bin").exists()
    ref = store.fresh(here, "data/tea/documents/a/document.json", "f1")
    assert ref is not None
    mirror.bring(other, ref, url)
    assert store.fresh(other, ref.path, "f1") == ref
    with pytest.raises(AssetError, match="run the part before again"):
        mirror.bring(other, ref.model_copy(update={"sha256": "0" * 64}), url)


def test_large_files_travel_in_pieces_and_a_changed_one_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "SMALL_BYTES", 1000)
    here = channel(tmp_path / "here")
    mirror.push(here, "tea", url)
    assert mirror.pull(tmp_path / "other", "tea", url).files == 7
    assert digests(tmp_path / "other") == digests(here)
    There.at(url).write("models/tea/run/adapter/weights.bin", b"x" * 5000)
    with pytest.raises(AssetError, match="not what its manifest says"):
        mirror.pull(tmp_path / "third", "tea", url)
    assert store.fresh(tmp_path / "third", "models/tea/run/adapter/", "f2") is None


def test_a_name_that_leads_out_of_the_home_stops_a_pull(tmp_path: Path) -> None:
    mirror.push(channel(tmp_path / "home"), "tea", f"file://{tmp_path}/there")
    sizes = {"data/tea/../../etc/passwd": 1}
    with pytest.raises(AssetError, match="which is no file of a channel"):
        tree.sound(sizes, "s3://bucket")


def test_what_is_forgotten_here_is_gone_there(url: str, tmp_path: Path) -> None:
    home = channel(tmp_path / "home")
    (home / "data/tea/decisions.jsonl").unlink()
    saved(home, "b", b"{}", "f9")
    mirror.remember(home / "data/tea", url)
    mirror.push(home, "tea", url)
    forgetting.forget(home / "data/tea", Ledger(home / "data/tea/ledger.sqlite").rows())
    there = There.at(url)
    assert not there.sizes("data/tea/documents/a") and there.sizes("data/tea/documents/b")
    assert mirror.pull(tmp_path / "other", "tea", url).files
    assert not (tmp_path / "other/data/tea/documents/a").exists()
    mirror.forget(home / "data/tea")
    assert not There.at(url).sizes("data/tea") and There.at(url).sizes("models/tea")


def test_the_champion_comes_along_and_its_history_goes_on_where_it_ended(url: str, tmp_path: Path) -> None:
    here, other = channel(tmp_path / "here"), tmp_path / "other"
    ours, theirs = here / "models/tea", other / "models/tea"
    champion.promote(ours, "run", ["better"])
    mirror.push(here, "tea", url)
    mirror.grow(other, "models/tea/champion.jsonl", url)
    champion.restore(theirs, lambda run: mirror.meet(other, f"models/tea/{run}", url))
    assert champion.current(theirs) == theirs / "run" and (theirs / "run/adapter/weights.bin").exists()
    champion.refuse(ours, "worse", ["worse"])
    champion.refuse(theirs, "another", ["worse"])
    mirror.push(here, "tea", url)
    mirror.grow(other, "models/tea/champion.jsonl", url)
    assert champion.history(theirs)[-1].run == "another", "what was noted here is not replaced by something else"
    mirror.pull(other, "tea", url)
    assert champion.history(theirs) == champion.history(ours)
