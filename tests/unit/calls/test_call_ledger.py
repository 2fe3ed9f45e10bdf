"""The ledger of calls keeps every reply, counts what is unknown at its worst, and makes no file by reading."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from understudy.calls import Call, Reply, Usage
from understudy.calls.ledger import CallLedger
from understudy.errors import AssetError

USAGE = Usage(input=100, cached=60, written=10, output=20, reasoning=5)
REPLY = Reply('{"items":[]}\n', "stop", None, USAGE, "default", "req-1", 1.5)


def call(name: str = "a", kind: str = "answers") -> Call:
    return Call(kind, name, "test/model", "model", ({"role": "user", "content": name},), None, {}, 500, (1, 2))


def test_the_same_replies_come_back_in_their_order(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    second = Reply("b\ud800ad", "refused", "no", None)
    ledger.keep(call(), ledger.intend(call(), 0.5), REPLY, 0.1)
    ledger.failed(call(), ledger.intend(call(), 0.5), "503", 0.0)
    ledger.keep(call(), ledger.intend(call(), 0.5), second, None)
    ledger.close()
    again = CallLedger(ledger.file)
    assert again.reply(call().key, 0) == REPLY
    assert again.reply(call().key, 1) == Reply("b?ad", "refused", "no", None)
    assert again.reply(call().key, 2) is None
    assert again.spent() == pytest.approx(0.1 + 0.0 + 0.5)


def test_an_attempt_that_was_turned_away_leaves_nothing(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    ledger.nothing_sent(call(), ledger.intend(call(), 0.5))
    assert ledger.intend(call(), 0.25) == 1
    assert ledger.spent() == 0.25


def test_what_a_killed_run_left_on_its_way_counts_at_its_worst(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.unit.calls.test_call_ledger import call; "
        "from understudy.calls.ledger import CallLedger; CallLedger(Path(sys.argv[1])).intend(call(), 0.5)"
    )
    file = tmp_path / "calls.sqlite"
    subprocess.run([sys.executable, "-c", program, str(file)], cwd=Path(__file__).parents[3], check=True)
    ledger = CallLedger(file)
    ledger.settle_abandoned()
    (totals,) = ledger.summary()
    assert (totals.calls, totals.failed, totals.usd, totals.unknown_usd) == (1, 1, 0, 0.5)
    assert ledger.reply(call().key, 0) is None and ledger.intend(call(), 0.5) == 2


def test_the_summary_tells_paid_wasted_and_unknown_apart(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    for name, usable in [("a", 2), ("b", 1), ("c", 0)]:
        ledger.keep(call(name), ledger.intend(call(name), 1.0), REPLY, 0.1)
        ledger.judged(call(name), 0, usable, 2)
    ledger.failed(call("d", "questions"), ledger.intend(call("d", "questions"), 1.0), "idle", None)
    answers, questions = ledger.summary()
    assert (answers.kind, answers.calls, answers.failed, answers.input, answers.cached) == ("answers", 3, 0, 300, 180)
    assert answers.usd == pytest.approx(0.3) and answers.wasted_usd == pytest.approx(0.15)
    assert (questions.failed, questions.usd, questions.unknown_usd) == (1, 0, 1.0)


def test_reading_makes_no_file(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "x" / "calls.sqlite")
    assert ledger.reply("k", 0) is None and ledger.answers(["k"]) == {} and ledger.note("n") is None
    assert ledger.spent() == 0 and ledger.summary() == []
    ledger.set_note("n", None)
    ledger.keep_answers("t", {})
    assert not ledger.file.parent.exists()


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    answers = {f"k{i}": f"**{i}**\n\n- a" for i in range(1200)}

    def write() -> None:
        ledger.keep_answers("t", answers)
        ledger.set_note("schema", "yes")
        ledger.judged(call(), 0, 1, 2)

    ledger.keep(call(), ledger.intend(call(), 0.5), REPLY, 0.1)
    write()
    ledger.close()
    before = ledger.file.read_bytes()
    write()
    assert ledger.answers([*answers, "other"]) == answers and ledger.note("schema") == "yes"
    ledger.close()
    assert ledger.file.read_bytes() == before


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    with ThreadPoolExecutor(8) as pool:
        attempts = list(pool.map(lambda i: ledger.intend(call(str(i % 8)), 1.0), range(64)))
    assert sorted(attempts) == sorted(list(range(1, 9)) * 8) and ledger.spent() == 64


def test_there_is_a_row_per_call(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    ledger.keep(call(), ledger.intend(call(), 0.5), REPLY, 0.1)
    ledger.failed(call("b"), ledger.intend(call("b"), 0.5), "503", 0.0)
    first, second = ledger.rows()
    assert (first["state"], first["text"], first["numbers"], first["usd"]) == ("ok", REPLY.text, [1, 2], 0.1)
    assert (second["state"], second["reason"]) == ("failed", "503")


@pytest.mark.parametrize("content", ["newer", "garbage"])
def test_a_file_of_a_newer_version_or_none_of_ours_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "calls.sqlite"
    if content == "newer":
        db = sqlite3.connect(file)
        db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        file.write_bytes(b"not a database at all, really not" * 50)
    with pytest.raises(AssetError, match="upgrade|move it away"):
        CallLedger(file).spent()
