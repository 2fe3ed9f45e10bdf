"""The verbs for talks: `status` shows what the ledger holds, and what `forget` deletes is gone."""

import json
from pathlib import Path

import pytest

from understudy.__main__ import main
from understudy.calls import Call, Reply
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.channel.ledger import Ledger, Row


@pytest.fixture
def home(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "data/talks/ledger.sqlite")
    ledger.record_new([
        Row("a", "A", "a", "r", "ok", words=10),
        Row("b", "B", "b", "r", "private", "Private video", 1, "2026-02-01T00:00:00+00:00"),
        Row("c", "C", "c", "r", "refused", "empty"),
    ])  # fmt: skip
    for name in ("documents/a/document.json", "dataset/train.jsonl"):
        (tmp_path / "data/talks" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/talks" / name).write_text("{}")
    (tmp_path / "models/talks/0a1b/adapter").mkdir(parents=True)
    return tmp_path


def run(home: Path, *words: str) -> int:
    return main(["--home", str(home), *words])


def test_status_tells_counts_reasons_and_the_next_try(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "status") == 0
    output = capsys.readouterr().out
    for part in ("talks", "private", "2026-02-01", "Private video", "empty"):
        assert part in output
    assert run(home, "status", "talks", "--json") == 0
    assert json.loads(capsys.readouterr().out)["talks"]["talks"]["private"]["talks"] == 1


def test_retry_lets_the_next_run_ask_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "retry", "b", "a", "--channel", "talks") == 0
    row = Ledger(home / "data/talks/ledger.sqlite").get("b")
    assert row and (row.status, row.attempts) == ("pending", 0)
    assert "already fetched" in capsys.readouterr().out


def test_forget_deletes_the_talk_its_dataset_and_names_the_models(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "forget", "a", "--channel", "talks") == 0
    assert not (home / "data/talks/documents/a").exists() and not (home / "data/talks/dataset").exists()
    row = Ledger(home / "data/talks/ledger.sqlite").get("a")
    assert row and row.status == "excluded"
    assert "0a1b" in capsys.readouterr().out


def test_forgetting_a_channel_leaves_nothing_of_it(home: Path) -> None:
    assert run(home, "forget", "--channel", "talks") == 2 and (home / "data/talks/documents").exists()
    assert run(home, "forget", "--channel", "talks", "--yes") == 0
    assert not (home / "data/talks").exists()


@pytest.mark.parametrize("words", [
    ["status", "nope"], ["retry", "zzz", "--channel", "talks"], ["forget", "zzz", "--channel", "talks"],
    ["forget", "--channel", "../talks"],
])  # fmt: skip
def test_what_is_not_there_is_said_and_nothing_is_deleted(home: Path, words: list[str]) -> None:
    assert run(home, *words) == 2
    assert (home / "data/talks/documents/a/document.json").exists()


def test_no_reply_about_a_forgotten_talk_is_kept(home: Path) -> None:
    files = [home / "data/talks" / folder / CALLS for folder in ("", "verify", "judge")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        ledger = CallLedger(file)
        for talk in "ab":
            call = Call("answers", talk, "test/model", "model", (), None, {}, 500, (1,))
            ledger.keep(call, ledger.intend(call, 0.5), Reply(f"words of {talk}", "stop"), 0.1)
        ledger.close()
    assert run(home, "forget", "a", "--channel", "talks") == 0
    for file in files:
        assert [row["document_id"] for row in CallLedger(file).rows()] == ["b"]
