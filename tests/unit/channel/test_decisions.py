"""What people decided wins over every gate, survives every run, and is never lost."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.pairs import pair
from understudy.channel.decisions import FILE, Decision, Decisions, append, key_of, load
from understudy.errors import AssetError
from understudy.records import Pair

REFUSED = {"kept": False, "gate": "length", "reason": "too short"}


def decision(about: Pair, action: str, **fields: Any) -> Decision:
    key = key_of(about.document_id, about.question)
    fields = {"reason": "wrong"} | fields if action == "reject" else fields
    return Decision(
        **key._asdict(), about=about.question, action=action, decided_at="2026-01-01T00:00:00+00:00", **fields
    )


def test_a_reject_refuses_the_pair_under_its_own_gate() -> None:
    rejected = Decisions([decision(pair(), "reject", reason="not in the talk")]).apply([pair()])[0]
    assert (rejected.kept, rejected.gate, rejected.reason) == (False, "human", "not in the talk")
    assert rejected.answer == pair().answer


def test_a_restore_keeps_what_any_gate_refused() -> None:
    refused = pair().model_copy(update=REFUSED)
    assert Decisions([decision(refused, "restore")]).apply([refused]) == [pair()]


def test_an_edit_replaces_the_text_and_keeps_the_pair() -> None:
    refused = pair().model_copy(update=REFUSED)
    edited = Decisions([decision(refused, "edit", question="Q?", answer="A.")]).apply([refused])
    assert edited == [pair(question="Q?", answer="A.")]


def test_the_last_decision_wins_and_an_edited_text_outlives_later_verdicts() -> None:
    edit, reject = decision(pair(), "edit", question="Q?", answer="A."), decision(pair(), "reject")
    assert Decisions([reject, edit]).apply([pair()])[0].kept
    rejected = Decisions([edit, reject]).apply([pair()])[0]
    assert (rejected.kept, rejected.question) == (False, "Q?")
    assert Decisions([edit, reject, decision(pair(), "restore")]).apply([pair()]) == [pair(question="Q?", answer="A.")]


def test_a_decision_follows_its_question_to_another_number_and_nowhere_else() -> None:
    result = Decisions([decision(pair(number=1), "reject")])
    same = pair(number=9, question="  What IS\nheat? ")
    others = [pair("other"), pair(number=1, question="What is cold?"), pair(question="What is heat")]
    assert not result.apply([same])[0].kept
    assert result.apply(others) == others


def test_applying_twice_changes_nothing_more() -> None:
    result = Decisions([decision(pair(), "edit", question="Q?", answer="A."), decision(pair("b"), "reject")])
    once = result.apply([pair(), pair("b"), pair("c")])
    assert result.apply(once) == once
    assert result.waiting(once) == 0


def test_an_edited_pair_is_edited_again_under_the_words_of_the_teacher() -> None:
    result = Decisions([decision(pair(), "edit", question="Second?", answer="2.")])
    seen = result.apply([pair()])[0]
    assert result.key(seen) == key_of("talk", pair().question)
    result.add(decision(pair(), "edit", question="Third?", answer="3."))
    assert result.apply([pair()])[0].question == result.apply([seen])[0].question == "Third?"


def test_decisions_whose_pair_is_gone_are_counted_and_kept(tmp_path: Path) -> None:
    append(tmp_path, decision(pair(), "reject"))
    result = load(tmp_path)
    assert result.apply([pair("other")]) == [pair("other")]
    assert result.waiting([pair("other")]) == 1
    assert not load(tmp_path).apply([pair()])[0].kept


def test_decisions_come_back_as_they_were_made(tmp_path: Path) -> None:
    assert load(tmp_path).fingerprint is None
    made = [decision(pair(), "edit", question="Ünïcode?", answer="a\n\nb\u2028c"), decision(pair("b"), "reject")]
    for one in made:
        append(tmp_path, one)
    assert load(tmp_path).standing == Decisions(made).standing
    assert load(tmp_path).fingerprint == Decisions(made).fingerprint


def test_only_what_holds_decides_the_fingerprint() -> None:
    reject, restore = decision(pair(), "reject"), decision(pair(), "restore")
    assert Decisions([reject, restore, reject]).fingerprint == Decisions([reject]).fingerprint
    assert Decisions([reject]).fingerprint != Decisions([restore]).fingerprint


def test_half_a_line_left_by_a_crash_costs_no_other_decision(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(tmp_path, decision(pair(), "reject"))
    file = tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:40])
    assert len(load(tmp_path).standing) == 1
    assert "half a line" in caplog.text
    append(tmp_path, decision(pair("b"), "reject"))
    assert len(load(tmp_path).standing) == 2


def test_a_damaged_line_is_named_and_never_passed_over(tmp_path: Path) -> None:
    append(tmp_path, decision(pair(), "reject"))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"action": "reject"}\n')
    with pytest.raises(AssetError, match="line 2 of"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("reject", {"reason": " "}),
        ("edit", {"question": "Q?"}),
        ("edit", {"question": "Q?", "answer": "\n"}),
        ("restore", {"reason": "x"}),
        ("reject", {"question": "Q?"}),
        ("keep", {}),
    ],
)
def test_a_decision_is_whole_or_is_none(action: str, fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        decision(pair(), action, **fields)


def _append_many(folder: Path, name: str) -> None:
    for number in range(25):
        append(folder, decision(pair(name, question=f"Question {number}?"), "reject"))


def test_two_writers_lose_no_line(tmp_path: Path) -> None:
    writers = [multiprocessing.Process(target=_append_many, args=(tmp_path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(load(tmp_path).standing) == 50


def test_a_question_and_its_refusal_are_decided_apart() -> None:
    one = pair("d", 1, "What is X?", "X is this.")
    other = one.model_copy(update={"pair_id": "d#30001", "kind": "refusal", "answer": "I cannot answer this."})
    decided = Decisions()
    key = decided.key(other)
    edit = {"question": "What is X?", "answer": "I cannot answer this: edited.", "decided_at": "2026-01-01"}
    decided.add(Decision(**key._asdict(), about="What is X?", action="edit", **edit))
    assert [each.answer for each in decided.apply([one, other])] == ["X is this.", "I cannot answer this: edited."]
