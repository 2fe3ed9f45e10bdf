"""The verbs for talks: `status` shows what the ledger holds, and what `forget` deletes is gone."""

import json
from pathlib import Path

import pytest

from understudy.__main__ import main
from understudy.calls import Call, Reply
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.channel.ledger import Ledger, Row
from understudy.cli import status


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


def test_status_shows_what_retry_and_forget_are_called_with_and_what_to_type_next(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "status", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["talks"]
    ids = [talk["id"] for talk in shown["documents"]]
    assert ids == ["a", "b", "c"] and [model["run"] for model in shown["models"]] == ["0a1b"]
    assert "same `understudy run` again" in shown["next"]
    assert run(home, "retry", *ids) == 0 and run(home, "forget", *ids) == 0


def test_the_next_step_of_a_scored_model_is_to_talk_to_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.report.test_page import full_card

    card = full_card().model_copy(update={"candidates": []})
    (home / "models/talks/0a1b/scorecard.json").write_text(card.model_dump_json())
    assert status._next(home, home / "data/talks", {}, {"pairs": 3}, status._models(home / "models/talks")) == (
        f"understudy chat talks/0a1b --home {home}"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["retry"], "name the talks to request again"),
        (["retry", "04-why-tea"], "no talk '04-why-tea'"),
        (["forget"], "name the talks to delete"),
        (["status", "talk"], "did you mean talks?"),
        (["retry", "Privat", "--channel", "talks"], "no talk 'Privat'"),
    ],
)
def test_what_is_not_meant_is_answered_with_what_to_type(
    home: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and ("`understudy status" in error or "did you mean" in error)


def test_a_talk_is_named_by_id_title_file_or_beginning_and_a_state_names_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path / "data/lamps/ledger.sqlite")
    ledger.record_new([
        Row("04-wicks-vtt", "How wicks draw", "04-wicks.vtt", "r", "refused", "empty"),
        Row("05-wax-vtt", "Wax", "05-wax.vtt", "r", "network"),
        Row("05-wind-vtt", "Wind", "05-wind.vtt", "r", "network"),
    ])  # fmt: skip
    for word in ("04-wicks-vtt", "how wicks draw", "04-wicks.vtt", "04-w", "refused"):
        assert run(tmp_path, "retry", word, "--json") == 0
        assert json.loads(capsys.readouterr().out)["retried"] == ["04-wicks-vtt"]
        ledger.record(Row("04-wicks-vtt", "How wicks draw", "04-wicks.vtt", "r", "refused", "empty"))
    assert run(tmp_path, "retry", "network", "--json") == 0
    assert json.loads(capsys.readouterr().out)["retried"] == ["05-wax-vtt", "05-wind-vtt"]
    assert run(tmp_path, "forget", "05-w") == 2 and "05-wax-vtt or 05-wind-vtt" in capsys.readouterr().err
    assert run(tmp_path, "forget", "05-wak-vtt") == 2 and "did you mean 05-wax-vtt?" in capsys.readouterr().err


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
