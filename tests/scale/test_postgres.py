"""The ledger in a real PostgreSQL, run here for the test: it says what the file says, for many processes at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT
from tests.scale import services
from tests.unit.calls.test_budget import SPENDER
from tests.unit.calls.test_call_ledger import REPLY, call
from understudy.calls import Reply
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.channel.ledger import Ledger, Row
from understudy.config import load
from understudy.database import Schema, database
from understudy.errors import AssetError, ConfigError

pytest.importorskip("psycopg", reason="psycopg is an extra: pip install 'psycopg[binary]'")
ROW = Row("a", "A", "a.txt", "r1", "ok", duration_seconds=0.1, words=10, sha256="s")
WRITER = """
import sys
from pathlib import Path
from understudy.channel.ledger import Ledger, Row
ledger = Ledger(Path(sys.argv[1]) / "ledger.sqlite", sys.argv[2])
for number in range(50):
    ledger.record(Row(f"{sys.argv[3]}-{number:02}", "A", "a", "r", "ok"))
    ledger.record(Row("shared", "A", "a", "r", "ok", attempts=number))
"""

ATTEMPT = """
import sys
from pathlib import Path
from understudy.channel.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]) / "ledger.sqlite")
ledger.record(ledger.get("a")._replace(attempts=2))
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with services.postgres() as address:
        yield address


@services.needs_postgres
def test_both_databases_say_the_same(url: str, tmp_path: Path) -> None:
    results = []
    for name, where in (("file", None), ("server", url)):
        ledger = Ledger(tmp_path / name / "ledger.sqlite", where)
        assert ledger.rows() == [] and ledger.counts() == {} and ledger.get("a") is None and ledger.note("n") is None
        ledger.record_new([ROW, ROW._replace(document_id="B"), ROW._replace(document_id="b"), ROW])
        ledger.record(ROW._replace(status="refused", reason="empty", next_try="2026-01-02"))
        ledger.record_new([ROW])
        ledger.set_note("n", "one")
        ledger.set_note("n", "two")
        ledger.set_note("gone", "x")
        ledger.set_note("gone", None)
        ledger.forget("b")
        values = (ledger.rows(), ledger.counts(), ledger.get("a"), ledger.note("n"), ledger.note("gone"))
        results.append((*values, ledger.reasons("refused"), ledger.first_next_try("refused")))
        ledger.close()
        assert ledger.counts() == values[1]
    assert results[0] == results[1]


@services.needs_postgres
def test_processes_that_begin_at_once_lose_no_row(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), url, name], cwd=ROOT) for name in ("p", "q", "r")
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    rows = Ledger(folder / "ledger.sqlite").rows()  # the note beside the file has the address
    assert len(rows) == 3 * 50 + 1 and rows[-1].attempts == 49
    assert not (folder / "ledger.sqlite").exists()


def cut(url: str) -> None:
    """End every other connection of the database, as its restart does."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")


@services.needs_postgres
def test_a_connection_that_breaks_is_opened_again_and_the_transaction_counts_once(url: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "cut/ledger.sqlite", url)
    ledger.record(ROW)
    cut(url)
    assert ledger.rows() == [ROW]
    tables = database(tmp_path / "cut/ledger.sqlite", Schema(1, "", True, ""))
    with tables.transaction() as execute:
        execute("UPDATE documents SET attempts = attempts + 1 WHERE document_id = ?", "a")
        cut(url)
        assert execute("SELECT attempts FROM documents") == [(1,)]
    assert ledger.rows()[0].attempts == 1
    with pytest.raises(AssetError), tables.transaction() as execute:  # another process was faster meanwhile
        assert execute("SELECT attempts FROM documents") == [(1,)]
        cut(url)
        subprocess.run([sys.executable, "-c", ATTEMPT, str(tmp_path / "cut")], cwd=ROOT, check=True)
        execute("UPDATE documents SET attempts = 5")
    assert ledger.rows()[0].attempts == 2


@services.needs_postgres
def test_channels_do_not_meet_however_long_their_names(url: str, tmp_path: Path) -> None:
    names = ["c" * 62 + end for end in "xy"]
    for name in names:
        Ledger(tmp_path / name / "ledger.sqlite", url).record(ROW._replace(title=name))
    assert [Ledger(tmp_path / name / "ledger.sqlite").rows()[0].title for name in names] == names


@services.needs_postgres
def test_a_ledger_of_a_newer_version_is_refused(url: str, tmp_path: Path) -> None:
    import psycopg

    ledger = Ledger(tmp_path / "newer" / "ledger.sqlite", url)
    ledger.counts()
    ledger.close()
    with psycopg.connect(url) as db:
        db.execute("UPDATE understudy_newer.version SET number = 99")
    with pytest.raises(AssetError, match="newer Understudy"):
        ledger.counts()


@services.needs_postgres
def test_the_calls_of_a_channel_are_beside_its_talks_and_read_the_same(url: str, tmp_path: Path) -> None:
    results = []
    for name in ("file", "server"):
        folder = tmp_path / name
        if name == "server":
            Ledger(folder / "ledger.sqlite", url)
        ledger = CallLedger(folder / "judge" / CALLS)
        assert ledger.spent() == 0 and ledger.summary() == [] and ledger.reply(call().key, 0) is None
        ledger.keep(call(), ledger.intend(call(), 0.5), REPLY, 0.1)
        ledger.keep(call(), ledger.intend(call(), 0.5), Reply("b\ud800a\0d", "refused", "no", None), None)
        ledger.failed(call("b"), ledger.intend(call("b"), 0.5), "503", 0.0)
        ledger.nothing_sent(call("c"), ledger.intend(call("c"), 0.5))
        ledger.judged(call(), 0, 1, 2)
        ledger.keep_answers("a", {"k": "one", "l": "two"})
        ledger.keep_answers("b", {"k": "three"})
        ledger.set_note("n", "x")
        rows = ledger.rows()
        result = [ledger.spent(), ledger.summary(), ledger.reply(call().key, 0), ledger.answers("kl"), ledger.note("n")]
        assert ledger.reply(call().key, 1).text in ("b?a\0d", "b?a\ufffdd")
        assert ledger.forget(["a", "b"]) == 3 and ledger.spent() == 0 and ledger.answers("kl") == {}
        results.append([*result, [(row["key"], row["attempt"], row["state"], row["usd"]) for row in rows]])
        ledger.close()
        assert (folder / "judge").exists() == (name == "file")
    assert results[0] == results[1]


@services.needs_postgres
def test_processes_of_several_machines_keep_to_one_budget(url: str, tmp_path: Path) -> None:
    files = [tmp_path / machine / "spend" / CALLS for machine in "abc"]
    for file in files:
        Ledger(file.with_name("ledger.sqlite"), url)
    processes = [
        subprocess.Popen([sys.executable, "-c", SPENDER, str(file), file.parent.parent.name], cwd=ROOT)
        for file in files
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (
        0.8 < CallLedger(files[0]).spent() <= 1.0 + 1e-9
        and CallLedger(files[1]).spent() == CallLedger(files[0]).spent()
    )


def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"postgresql://u@127\.0\.0\.1:9/d cannot be used now"):
        Ledger(tmp_path / "ledger.sqlite", "postgresql://u@127.0.0.1:9/d").counts()


@pytest.mark.parametrize(
    ("address", "message"),
    [("mysql://u@h/d", "'?mysql'? is no database known"), ("postgresql://u:pw@h/d", "PGPASSWORD"), ("", "no database")],
)
def test_an_address_that_cannot_be_a_ledger_is_refused_without_a_connection(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load(ROOT / "deployments/presets/tiny.yaml", {"ledger": address})
    assert address != "postgresql://u:pw@h/d" or "u:pw@h" not in str(refused.value)
