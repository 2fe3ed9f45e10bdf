"""Homes that share a data_root: finished assets meet, newer ones count, broken ones heal, forgotten ones stay gone."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT
from understudy import mirror, store
from understudy.channel import forgetting
from understudy.channel.ledger import Ledger, Row
from understudy.errors import AssetError, Unreachable
from understudy.mirror import copies, shared, tree
from understudy.mirror.there import There
from understudy.records import AssetRef, Entry

ENTRY = Entry(document_id="a", title="A", locator="a.txt", revision="1")
FOLDER = "models/tea/run/adapter/"


def document(name: str) -> str:
    return f"data/tea/documents/{name}/document.json"


def made(home: Path, name: str, words: str, url: str | None = None) -> AssetRef:
    """A document made from its own words, as a workspace makes it."""
    shared.mark(home, document(name), words)
    ref = store.write_file(home, "document", document(name), words.encode(), 1, words)
    if url:
        shared.keep(home, ref, url)
    return ref


def built(home: Path, files: dict[str, bytes], made_from: str, url: str | None = None) -> AssetRef:
    def make(folder: Path) -> Entry:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return ENTRY

    shared.mark(home, FOLDER, made_from)
    ref = store.build_folder(home, "adapter", FOLDER, make, made_from)
    if url:
        shared.keep(home, ref, url)
    return ref


def words(home: Path, name: str) -> str | None:
    file = home / document(name)
    return file.read_text() if store.present(home, document(name)) else None


def test_two_homes_that_meet_have_what_both_made(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    made(here, "a", "of here", url)
    made(other, "b", "of other", url)
    (here / "data/tea/decisions.jsonl").write_text("here")
    for home in (here, other, here):
        shared.meet(home, "tea", url)
    for home in (here, other):
        assert (words(home, "a"), words(home, "b")) == ("of here", "of other")
    assert not (other / "data/tea/decisions.jsonl").exists(), "what is no asset stays where it is"
    assert not list(here.rglob(f"*{tree.UNSENT}"))


def test_a_channel_that_is_older_than_its_data_root_is_copied_there_once(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    store.write_file(here, "document", document("a"), b"old", 1, "old")
    built(here, {"w.bin": b"w"}, "f")
    (here / tree.unsent_of(FOLDER)).unlink()
    shared.meet(here, "tea", url)
    shared.meet(other, "tea", url)
    assert words(other, "a") == "old" and shared.find(other, FOLDER, "f", url)
    There.at(url).drop(There.at(url).listed("data/tea"))
    shared.meet(here, "tea", url)
    assert words(here, "a") == "old", "what is gone there is not deleted here"


def test_what_was_made_last_counts_on_every_machine(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    made(here, "a", "first", url)
    shared.meet(other, "tea", url)
    made(other, "a", "second", url)
    shared.meet(here, "tea", url)
    assert words(here, "a") == "second"
    made(here, "a", "third")  # and the line broke before it was copied
    shared.meet(here, "tea", url)
    shared.meet(other, "tea", url)
    assert words(here, "a") == words(other, "a") == "third"
    shared.mark(here, document("a"), "fourth")  # and the machine stopped before it was made
    made(other, "a", "fifth", url)
    shared.meet(here, "tea", url)
    assert words(here, "a") == words(other, "a") == "fifth"


def test_a_folder_made_anew_of_other_files_arrives(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    built(here, {"one.bin": b"1", "two.bin": b"2"}, "f1", url)
    assert shared.find(other, FOLDER, "another", url) is None and not (other / FOLDER).exists()
    assert shared.find(other, FOLDER, "f1", url)
    ref = built(here, {"three.bin": b"3"}, "f2", url)
    shared.bring(other, ref, url)
    assert shared.is_here(other, ref) and {f.name for f in (other / FOLDER).glob("*.bin")} == {"three.bin"}
    with pytest.raises(AssetError, match="run the part before again"):
        shared.bring(other, ref.model_copy(update={"sha256": "0" * 64}), url)


def test_a_copy_that_is_broken_there_is_healed_from_here_and_never_taken(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    made(here, "a", "whole", url)
    There.at(url).write(document("a"), b"brok!")
    shared.meet(other, "tea", url)
    assert words(other, "a") is None
    There.at(url).write(tree.manifest_of(document("a")), b"{")
    shared.meet(here, "tea", url)
    assert words(here, "a") == "whole"
    shared.meet(other, "tea", url)
    assert words(other, "a") == "whole"


def test_a_file_that_is_cut_here_is_brought_again(url: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    ref = made(here, "a", "whole", url)
    shared.meet(here, "tea", url)
    (here / document("a")).write_text("wh")
    shared.meet(here, "tea", url)
    assert words(here, "a") == "whole"
    (here / document("a")).unlink()
    shared.bring(here, ref, url)
    assert words(here, "a") == "whole"


def test_nothing_new_asks_for_the_list_alone(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    for name in "abc":
        made(here, name, name, url)
    shared.meet(here, "tea", url)
    asked: list[str] = []
    read = There.read
    monkeypatch.setattr(There, "read", lambda there, names: read(there, [n for n in names if not asked.append(n)]))
    shared.meet(here, "tea", url)
    assert asked == []
    made(here, "b", "newer", url)
    shared.meet(here, "tea", url)
    assert asked == [tree.manifest_of(document("b"))]


def test_threads_and_processes_may_want_the_same_asset_at_once(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    ref = built(here, {f"{number}.bin": b"x" * 2000 for number in range(5)}, "f", url)
    found: list[AssetRef | None] = []
    threads = [threading.Thread(target=lambda: found.append(shared.find(other, FOLDER, "f", url))) for _ in range(4)]
    program = (
        "import sys; from pathlib import Path; from understudy.mirror import shared; "
        "from understudy.records import AssetRef; "
        "shared.bring(Path(sys.argv[1]), AssetRef.model_validate_json(sys.argv[2]), sys.argv[3])"
    )
    command = [sys.executable, "-c", program, str(other), ref.model_dump_json(), url]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [0, 0] and found == [ref] * 4


def test_what_cannot_be_reached_is_told_and_not_taken_for_missing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    ref = made(here, "a", "words", url)
    made(here, "b", "more")

    def refuse(*_: object, **__: object) -> dict[str, Exception]:
        return {"x": PermissionError("no")}

    files = There.at(url).files
    monkeypatch.setattr(files, "cat", refuse)  # fsspec hands out one instance per place
    for ask in (
        lambda: shared.bring(tmp_path / "other", ref, url),
        lambda: shared.find(tmp_path / "other", document("a"), "words", url),
        lambda: mirror.pull(tmp_path / "other", "tea", url),
    ):
        with pytest.raises(Unreachable, match="PermissionError: no"):
            ask()


def test_a_break_while_an_asset_arrives_leaves_the_old_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    built(here, {"w.bin": b"old"}, "f1", url)
    assert shared.find(other, FOLDER, "f1", url)
    built(here, {"w.bin": b"new"}, "f2", url)

    def gone(*_: object) -> bool:
        raise ConnectionError("gone")

    monkeypatch.setattr(copies, "whole", gone)
    with pytest.raises(Unreachable, match="gone"):
        shared.find(other, FOLDER, "f2", url)
    monkeypatch.undo()
    assert store.fresh(other, FOLDER, "f1")


def test_who_forgets_a_talk_forgets_it_everywhere(url: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    for name in "ab":
        made(here, name, name, url)
        (here / "data/tea/imported").mkdir(exist_ok=True)
        Ledger(here / "data/tea/ledger.sqlite").record(Row(name, name, f"{name}.txt", "1", "ok"))
    for home in (here, other):
        shared.meet(home, "tea", url)
        (home / "data/tea/imported").mkdir(exist_ok=True)
        (home / "data/tea/imported/a.en.vtt").write_text("words")
    mirror.push(here, "tea", url)
    ledger = Ledger(here / "data/tea/ledger.sqlite")
    forgetting.forget(here / "data/tea", [row for row in ledger.rows() if row.document_id == "a"])
    for home in (other, here):
        shared.meet(home, "tea", url)
        assert not (home / "data/tea/documents/a").exists() and words(home, "b") == "b"
        assert not list((home / "data/tea/imported").iterdir())
    listed = There.at(url).listed("data/tea")
    assert not [name for name in listed if "/a/" in name or "/a." in name]
    assert "data/tea/forgotten/a" in listed and "data/tea/ledger.sqlite" in listed
    shared.recall(here / "data/tea", ["a"])
    made(here, "a", "again", url)
    shared.meet(other, "tea", url)
    assert words(other, "a") == "again"
    assert shared.forget(here / "data/tea") == url and not There.at(url).listed("data/tea")


def test_a_talk_that_cannot_be_dropped_there_is_not_forgotten_here(tmp_path: Path) -> None:
    home, url = tmp_path / "home", f"file://{tmp_path}/there"
    made(home, "a", "a", url)
    shared.meet(home, "tea", url)
    rows = [Row("a", "A", "a.txt", "1", "removed")]
    (tmp_path / "there").rename(tmp_path / "away")
    (tmp_path / "there").write_text("no folder")
    with pytest.raises(Unreachable):
        forgetting.forget(home / "data/tea", rows)
    assert words(home, "a") == "a", "the next night tries again"
