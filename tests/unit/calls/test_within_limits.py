"""A teacher asks within what its server takes: answers in several calls, talks in parts, one talk's refusal alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_faults import Plan
from tests.fixtures.teacher_server import TeacherServer
from understudy.calls import recording
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.errors import ContentRefused, TeacherStopped
from understudy.records import Document, Paragraph, Questions
from understudy.sections import AnswerSettings, QuestionSettings
from understudy.stages import extract_questions, generate_answers
from understudy.teachers.openai import OpenAITeacher
from understudy.teachers.replay import ReplayTeacher

PRICE = {"input": 0.25, "output": 2.0}


def talk(name: str = "tea", words: int = 60) -> Document:
    lines = [
        f"In part {at} the kettle number {at} of {name} stays hot, so that tea number {at * 7} cools slowly. "
        * (words // 15)
        for at in range(20)
    ]
    return Document(
        document_id=name, title=name, locator="x", how="test", paragraphs=[Paragraph(text=line) for line in lines]
    )


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with TeacherServer(Plan()) as running:
        yield running


def teacher(server: TeacherServer, folder: Path, **options: Any) -> OpenAITeacher:
    made = OpenAITeacher(OpenAITeacher.Options(model="toy", base_url=server.url, **options))
    made.begin(folder)
    return made


def read(teacher: Any, document: Document, count: int = 20, **settings: Any) -> tuple[Questions, Any]:
    wanted = QuestionSettings(at_most=count, seconds_per_question=1)
    questions = extract_questions.extract(document, teacher, wanted)
    return questions, generate_answers.answer(document, questions, teacher, AnswerSettings(**settings))


def texts(answers: Any) -> list[str | None]:
    return [entry.answer for entry in answers.answers]


def test_answers_above_the_models_limit_come_in_several_calls_and_it_is_remembered(
    server: TeacherServer, tmp_path: Path
) -> None:
    one = teacher(server, tmp_path / "whole")
    expected = texts(read(one, talk())[1])
    one.close()
    assert len(expected) == 20 and all(expected)
    server.reset()
    server.change(output_tokens=8192)
    two = teacher(server, tmp_path / "limited")
    assert texts(read(two, talk())[1]) == expected
    assert server.account.paid_calls == 1 + 3 and server.account.replies["output"] <= 2
    two.close()
    server.reset()
    again = teacher(server, tmp_path / "limited")
    assert texts(read(again, talk("coffee"))[1]) and "output" not in server.account.replies
    again.close()


def test_a_recording_of_answers_in_several_calls_is_replayed(server: TeacherServer, tmp_path: Path) -> None:
    server.change(output_tokens=8192)
    one = teacher(server, tmp_path / "limited")
    expected = texts(read(one, talk())[1])
    one.close()
    ledger = CallLedger(tmp_path / "limited" / CALLS)
    recording.record(ledger, tmp_path / "replies.jsonl")
    ledger.close()
    replay = ReplayTeacher(ReplayTeacher.Options(file=str(tmp_path / "replies.jsonl")))
    replay.begin(tmp_path / "replay")
    assert texts(read(replay, talk())[1]) == expected
    replay.close()


def test_a_window_that_has_no_room_for_all_answers_beside_the_talk_is_kept_to(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.change(window_tokens=16_384)
    for name, options in (("learned", {}), ("set", {"context_window": 16_384})):
        server.reset()
        one = teacher(server, tmp_path / name, **options)
        _, answers = read(one, talk(name))
        assert all(texts(answers)) and len(texts(answers)) == 20
        assert server.account.replies["window"] <= (2 if not options else 0)
        one.close()


def test_a_talk_above_the_window_is_read_in_parts_once_the_window_is_known(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.change(window_tokens=6000)
    one = teacher(server, tmp_path)
    long = talk(words=400)
    assert one.tokens(long.text) > 6000
    questions, answers = read(one, long)
    assert questions.parts > 1 and all(texts(answers))
    one.close()


def test_so_many_questions_a_call_as_the_preset_says(server: TeacherServer, tmp_path: Path) -> None:
    one = teacher(server, tmp_path)
    questions, answers = read(one, talk(), per_call=6)
    assert all(texts(answers)) and server.account.paid_calls == 1 + 4
    requests = generate_answers.requests(talk(), questions, one, AnswerSettings(per_call=6))
    assert [len(request.questions) for request in requests] == [5, 5, 5, 5]
    one.close()
    assert "per_call" not in AnswerSettings().model_dump(), "answers written without it stay fresh"


def test_a_talk_that_a_filter_refuses_is_set_aside_and_asked_for_again_by_the_next_run(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.change(filters="number 7 of poison")
    one = teacher(server, tmp_path, price=PRICE)
    with pytest.raises(ContentRefused, match="content management policy"):
        read(one, talk("poison"))
    assert all(texts(read(one, talk())[1])), "the others go on"
    assert server.account.replies["filtered"] == 1
    server.change(filters="")
    assert all(texts(read(one, talk("poison"))[1]))
    one.close()


def test_a_question_that_a_filter_refuses_is_found_and_the_others_are_answered(
    server: TeacherServer, tmp_path: Path
) -> None:
    one = teacher(server, tmp_path)
    questions, _ = read(one, talk(), count=6)
    bad = questions.questions[2]
    server.change(filters=f"\n{bad.question_number}. {bad.question}")
    fresh = teacher(server, tmp_path / "fresh")
    answers = generate_answers.answer(talk(), questions, fresh, AnswerSettings())
    assert [entry.question_number for entry in answers.answers if entry.failed] == [bad.question_number]
    assert "content management policy" in (answers.answers[2].failed or "")
    for used in (one, fresh):
        used.close()


def test_a_model_that_loads_and_answers_one_call_at_a_time_is_served_out(server: TeacherServer, tmp_path: Path) -> None:
    server.change(loading_requests=2, one_at_a_time=True, latency=0.3)
    one = teacher(server, tmp_path, first_token_seconds=0.5, concurrency=4)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda at: read(one, talk(f"talk {at}"), count=3)[1], range(6)))
    assert all(all(texts(answers)) for answers in results)
    one.close()


def test_a_wrong_key_stops_with_the_servers_words(tmp_path: Path) -> None:
    with TeacherServer(Plan(key="right")) as running:
        one = OpenAITeacher(OpenAITeacher.Options(model="toy", base_url=running.url))
        with pytest.raises(TeacherStopped, match="Incorrect API key provided"):
            one.begin(tmp_path)
            read(one, talk())
        one.close()
