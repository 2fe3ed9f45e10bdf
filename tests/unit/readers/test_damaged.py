"""No file ends a run: whatever is wrong with one, it is refused with its reason and the others are read."""

import os
import signal
from pathlib import Path

import pytest

from tests.unit.readers.damage import damaged, valid
from tests.unit.readers.files import pdf
from understudy import readers
from understudy.errors import Refused
from understudy.readers import apart
from understudy.records import Entry
from understudy.sources.documents import UNREADABLE, DocumentsSource

ENTRY = Entry(document_id="a", title="A", locator="a", revision="1")


def outcome(file: Path, raw: bytes) -> str:
    """The words of a file, or why it is refused."""
    file.write_bytes(raw)
    try:
        return readers.read(file, ENTRY).text
    except Refused as refusal:
        return str(refusal)


def test_the_damage_begins_with_files_of_every_format_that_are_read() -> None:
    assert set(valid()) == set(readers.READERS)


def test_two_hundred_damaged_files_are_each_read_or_refused_with_a_reason(tmp_path: Path) -> None:
    outcomes = [outcome(tmp_path / f"a{suffix}", raw) for suffix, raw in damaged(200, seed=7)]
    assert len(outcomes) == 200 and all(outcomes)


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("a.pdf", pdf([["Heat", "Flows", "Always"]] * 4), "lines that every page repeats"),
        ("a.pdf", pdf([[str(n)] for n in range(1, 6)]), "page numbers"),
        ("a.md", b"---\nlist: " + b"[" * 1500 + b"]" * 1500 + b"\n---\nWords.", "front matter is nested too deep"),
        ("a.md", b"---\n: : :\n\t- x\n---\nWords.", "front matter is not YAML"),
    ],
)
def test_what_once_ended_a_run_is_refused(tmp_path: Path, name: str, raw: bytes, reason: str) -> None:
    assert reason in outcome(tmp_path / name, raw)


def test_an_impossible_date_is_no_date(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\ntitle: Dough\ndate: 2023-04-31\nlanguage: no\n---\nIt rises.\n")
    document = readers.read(tmp_path / "a.md", ENTRY)
    assert (document.title, document.published, document.language) == ("Dough", None, "no")


def test_fields_that_double_with_every_line_take_no_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert outcome(tmp_path / "a.md", ("---\n" + "\n".join(lines) + "\n---\nIt rises.\n").encode()) == "It rises."


def test_a_process_that_dies_between_two_files_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(valid()[".pdf"])
    pool = apart.Pool(processes=1)
    before = pool.read(tmp_path / "a.pdf", ENTRY)
    process = pool._free.get()
    assert process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    pool._free.put(process)
    assert pool.read(tmp_path / "a.pdf", ENTRY) == before


def test_a_file_that_takes_too_long_is_refused_and_may_be_asked_again(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(valid()[".pdf"])
    with pytest.raises(Refused, match="took longer than") as refusal:
        apart.Pool(processes=1, seconds_a_file=0).read(tmp_path / "a.pdf", ENTRY)
    assert refusal.value.retry_seconds
    assert readers.read(tmp_path / "a.pdf", ENTRY).words > 50, "the next one is read"


def test_a_file_that_cannot_be_opened_is_refused_and_the_others_are_listed(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("words")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "gone.txt")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("words")
    (tmp_path / "locked.txt").write_text("words")
    (tmp_path / "locked.txt").chmod(0)
    source = DocumentsSource(DocumentsSource.Options(path=tmp_path))
    listed = {entry.locator: (entry.revision, str(refusal or "")) for entry, refusal in source.list_talks()}
    assert listed["good.txt"][1] == "" and "not UTF-8" in listed["caf?.txt"][1]
    if os.geteuid() != 0:  # root opens everything
        assert listed["locked.txt"] == (UNREADABLE, "it cannot be read: Permission denied")


def test_a_file_that_is_gone_before_it_is_read_may_be_asked_again(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file") as refusal:
        readers.read(tmp_path / "gone.txt", ENTRY)
    assert refusal.value.retry_seconds
