"""Questions and answers that are there already come in by every form people have them in."""

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import Refused
from understudy.readers import pair_files
from understudy.sections import AnswerSettings, QuestionSettings
from understudy.sources.pairs import PairsSource
from understudy.stages import extract_questions, generate_answers
from understudy.teachers.given import GivenTeacher

Q, A = "Why does tea cool fastest at the start?", "Because the **difference** is largest then.\n\n- and it shrinks"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": Q}, {"role": "assistant", "content": A}]
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"question": Q, "answer": A},
    "completion": {"prompt": Q, "completion": A},
    "alpaca": {"instruction": Q, "input": "", "output": A},
    "chat": {"messages": CHAT},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": Q}]}, CHAT[2]]},
    "sharegpt": {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
    "preference": {"prompt": Q, "chosen": A, "rejected": "no"},
}


def source(path: Path, **options: Any) -> PairsSource:
    return PairsSource(PairsSource.Options.model_validate({"path": path} | options))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_question_and_the_answer(form: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(FORMS[form]) + "\n\n")
    (tmp_path / "b.json").write_text(json.dumps([FORMS[form]]))
    for name in ("a.jsonl", "b.json"):
        assert [row[:2] for row in pair_files.read(tmp_path / name).rows] == [(Q, A)]


@pytest.mark.parametrize(("mark", "name"), [(",", "x.csv"), (";", "x.csv"), ("\t", "x.csv"), ("\t", "x.tsv")])
def test_a_table_by_whatever_mark_and_encoding(mark: str, name: str, tmp_path: Path) -> None:
    text = f'Talk{mark}Question {mark}Answer\r\nTee{mark}Wärme?{mark}"Sie geht{mark} ""langsam"".\nDann nicht."\r\n'
    (tmp_path / name).write_bytes(text.encode("utf-16"))
    rows = pair_files.read(tmp_path / name).rows
    assert rows == [("Wärme?", f'Sie geht{mark} "langsam".\nDann nicht.', "Tee")]


def test_what_cannot_be_used_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines = [
        json.dumps(FORMS["chat"]),
        "{broken",
        "[1, 2]",
        json.dumps({"question": "No answer?"}),
        json.dumps({"x": 1}),
    ]
    more = {"messages": [*CHAT[1:], {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "x"}]}
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, json.dumps(more)]))
    read = pair_files.read(tmp_path / "a.jsonl")
    assert len(read.rows) == 2
    assert read.left_out == {
        "system text, not used": 1, "no JSON object": 2, "no answer": 1, "no question": 1, "later turns of a chat": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", "", "no question with an answer is in it"),
        ("a.json", "[1", "it cannot be read as JSON"),
        ("a.csv", "x,y\n1,2\n", "a row has the fields question and answer"),
        ("a.parquet", "PAR1", r"files of type \.parquet hold no pairs"),
    ],
)
def test_a_file_without_pairs_is_refused_with_what_a_row_needs(
    name: str, content: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(Refused, match=reason):
        pair_files.read(tmp_path / name)
    assert "gives no pair" in source(tmp_path / name).problems()[0]
    assert source(tmp_path / "absent").problems() == [f"source.path: there is no {str(tmp_path / 'absent')!r}"]


def test_rows_of_one_talk_stay_together_and_others_are_taken_as_they_come(tmp_path: Path) -> None:
    rows = [
        {"question": f"Why is {n} so?", "answer": f"It is {n}.", "talk": "日本" if n % 2 else None} for n in range(8)
    ]
    (tmp_path / "own pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    talks = source(tmp_path, rows_per_talk=3)
    entries = [entry for entry, refusal in talks.list_talks() if refusal is None]
    documents = [talks.fetch(entry) for entry in entries]
    assert [len(document.paragraphs) for document in documents] == [4, 3, 1]
    assert documents[0].title == "日本" and len({entry.document_id for entry in entries}) == 3
    (tmp_path / "own pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    again = [entry for entry, _ in source(tmp_path, rows_per_talk=3).list_talks()]
    assert again[1:] == entries[1:] and again[0].revision != entries[0].revision


def test_the_teacher_gives_back_each_answer_word_for_word(tmp_path: Path) -> None:
    rows = [{"question": f"What does the {n}. thing do?", "answer": f"**{n}** moves.\n\nThen it {n}."} for n in "abcd"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    talks, teacher = source(tmp_path / "a.jsonl"), GivenTeacher(GivenTeacher.Options())
    document = talks.fetch(next(talks.list_talks())[0])
    settings = QuestionSettings(seconds_per_question=1, at_most=1000)
    questions = extract_questions.extract(document, teacher, settings)
    answers = generate_answers.answer(document, questions, teacher, AnswerSettings())
    assert [(q.question, a.answer) for q, a in zip(questions.questions, answers.answers, strict=True)] == [
        (row["question"], row["answer"]) for row in rows
    ]
