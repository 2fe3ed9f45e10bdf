"""The ledger keeps what is new, writes nothing else, and refuses files that are not its own."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from understudy.channel.ledger import Ledger, Row
from understudy.database import URL_FILE, note_url
from understudy.errors import AssetError

ROW = Row("a", "A", "a.txt", "r1", "ok", words=10, sha256="s")


def test_a_known_row_is_not_written_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(ROW)
    before = (ledger.file.stat().st_mtime_ns, ledger.file.read_bytes())
    ledger.record(ROW)
    assert ledger.counts() == {"ok": 1}
    assert (ledger.file.stat().st_mtime_ns, ledger.file.read_bytes()) == before


def test_the_last_word_on_a_document_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(ROW)
    ledger.record(ROW._replace(status="refused", reason="empty"))
    assert ledger.get("a") == ROW._replace(status="refused", reason="empty")
    assert ledger.counts() == {"refused": 1}


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: ledger.record(ROW._replace(document_id=f"{i:03}")), range(64)))
    assert [row.document_id for row in ledger.rows()] == [f"{i:03}" for i in range(64)]


def test_reading_a_ledger_that_is_not_there_makes_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x" / "ledger.sqlite")
    assert ledger.rows() == [] and ledger.counts() == {} and ledger.get("a") is None
    assert not ledger.file.parent.exists()


@pytest.mark.parametrize("content", ["newer", "garbage"])
def test_a_ledger_of_a_newer_version_or_none_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ledger.sqlite"
    if content == "newer":
        db = sqlite3.connect(file)
        db.execute("PRAGMA user_version = 99")
        db.commit()
        db.close()
    else:
        file.write_bytes(b"not a database at all, really not" * 50)
    with pytest.raises(AssetError, match="newer|cannot|not a ledger"):
        Ledger(file).counts()


def test_the_address_of_a_database_is_never_read_half_written(tmp_path: Path) -> None:
    urls = [f"postgresql://user@host{at}/{'x' * 3000}" for at in (1, 2)]
    note_url(tmp_path, urls[0])
    ended = threading.Event()

    def write() -> None:
        for at in range(300):
            note_url(tmp_path, urls[at % 2])
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not ended.is_set():
        assert (tmp_path / URL_FILE).read_text().strip() in urls
    thread.join()
    assert [file.name for file in tmp_path.iterdir()] == [URL_FILE]
