"""A recording gives the same words again: offline, for nothing, and only to the same questions."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_faults import Plan
from tests.fixtures.teacher_server import TeacherServer
from tests.unit.calls.test_batch import call
from understudy.calls import Call, Reply, Usage, prompting
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.calls.recording import ReplayTransport, read_header, record
from understudy.errors import AssetError, ConfigError, TeacherStopped
from understudy.records import Answers, Document, Paragraph, Questions
from understudy.sections import AnswerSettings, QuestionSettings
from understudy.stages import extract_questions, generate_answers
from understudy.teachers.openai import OpenAITeacher
from understudy.teachers.replay import ReplayTeacher

WORDS = "kettle boils cold water above sea level while nobody watches steam rising from copper".split()
SETTINGS = {"temperature": 0.5, "seed": 11, "reasoning_effort": None}
KEY = "sk-planted-0123456789abcdef"


def talk(number: int) -> Document:
    sentences = [" ".join(f"{word}{chr(97 + number)}{chr(97 + at)}" for word in 3 * WORDS) for at in range(26)]
    paragraphs = [Paragraph(text=words, start_seconds=30.0 * at) for at, words in enumerate(sentences)]
    return Document(
        document_id=f"talk-{number}", title=f"Talk {number}", locator="x", how="test", paragraphs=paragraphs
    )


TALKS = [talk(number) for number in range(4)]


def run(teacher: Any, folder: Path, talks: list[Document] = TALKS) -> list[tuple[Questions, Answers]]:
    """Both passes over every talk, without what they cost."""
    teacher.begin(folder)
    try:
        done = []
        for document in talks:
            questions = extract_questions.extract(document, teacher, QuestionSettings())
            answers = generate_answers.answer(document, questions, teacher, AnswerSettings())
            done.append((questions.model_copy(update={"usd": 0.0}), answers.model_copy(update={"usd": 0.0})))
        return done
    finally:
        teacher.close()


def written_by(server: TeacherServer, folder: Path) -> tuple[list[tuple[Questions, Answers]], Path]:
    """What a faulty teacher wrote of all talks, and its recording."""
    price = {"input": 0.25, "output": 2.0}
    options = OpenAITeacher.Options(
        model="gpt-5-mini", base_url=server.url, idle_seconds=0.3, temperature=0.5, seed=11, price=price
    )
    wrote = run(OpenAITeacher(options), folder)
    ledger = CallLedger(folder / CALLS)
    count = record(ledger, folder / "calls.jsonl", settings=SETTINGS)
    ledger.close()
    assert count >= 8
    return wrote, folder / "calls.jsonl"


FAULTS = Plan(
    missing=0.2, duplicate=0.1, malformed=0.2, length=0.1, refusal=0.1, stall=0.1, error_500=0.1, hang_seconds=2, seed=3
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Questions, Answers]], Path, int]:
    """Answers, recording, and how many requests the real thing took; the server is gone."""
    folder = tmp_path_factory.mktemp("recorded")
    with TeacherServer(FAULTS) as server:
        wrote, file = written_by(server, folder)
        return wrote, file, server.account.requests


def replay(file: Path, **more: Any) -> ReplayTeacher:
    return ReplayTeacher(ReplayTeacher.Options(file=str(file), **more))


def test_a_replay_gives_identical_answers_offline_and_for_nothing(recorded: Any, tmp_path: Path) -> None:
    wrote, file, requests = recorded
    assert requests > 8, "the faults are what makes this worth showing"
    # What would change the keys is as it was recorded, whatever the preset says.
    teacher = replay(file, temperature=1.5, answer_tokens=100, thinking_tokens=7)
    assert teacher.problems() == []
    assert run(teacher, tmp_path) == wrote
    ledger = CallLedger(tmp_path / CALLS)
    assert ledger.spent() == 0
    assert wrote[0][0].teacher == "openai/gpt-5-mini"


def test_a_recording_of_a_replay_is_the_same_recording(recorded: Any, tmp_path: Path) -> None:
    run(replay(recorded[1]), tmp_path)
    ledger = CallLedger(tmp_path / CALLS)
    record(ledger, tmp_path / "again.jsonl", settings=SETTINGS)
    assert sorted((tmp_path / "again.jsonl").read_text().splitlines()) == sorted(recorded[1].read_text().splitlines())


def replies(file: Path, call: Call, count: int, **options: Any) -> list[Reply]:
    transport = ReplayTransport(file, **options)
    return [asyncio.run(transport.send(call)) for _ in range(count)]


def test_a_resumed_replay_gives_the_next_reply_not_the_first(tmp_path: Path) -> None:
    one, file = call(1), tmp_path / "calls.jsonl"
    ledger = CallLedger(tmp_path / CALLS)
    for text in ("one", "two"):
        ledger.keep(one, ledger.intend(one, 0.0), Reply(text, "stop"), 0.0)
    record(ledger, file, settings=one.settings)
    assert [reply.text for reply in replies(file, one, 3)] == ["one", "two", "two"]
    assert [reply.text for reply in replies(file, one, 2, offset=lambda key: 1)] == ["two", "two"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply('{"items": []}\u2028\n', "stop", usage=Usage(10, 4, 2, 6, 3), tier="flex"),
        Reply("half", "length", usage=Usage(10, 0, 0, 6, 0)),
        Reply("half", "cut"),
        Reply("", "refused", "No."),
        Reply("x" * 9000, "stop"),
        Reply("", "stop", usage=Usage(1, 0, 0, 9, 9)),
    ],
)
def test_every_reply_comes_back_as_it_was(reply: Reply, tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / CALLS)
    ledger.keep(call(2), ledger.intend(call(2), 0.0), reply, 0.0)
    record(ledger, tmp_path / "calls.jsonl")
    assert replies(tmp_path / "calls.jsonl", call(2), 1) == [reply]


def test_a_miss_names_the_digest_and_how_to_record(recorded: Any, tmp_path: Path) -> None:
    with pytest.raises(TeacherStopped, match=f"no reply with the digest {call(99).key} .* record"):
        replies(recorded[1], call(99), 1)
    with pytest.raises(TeacherStopped, match="no reply with the digest .* record"):
        run(replay(recorded[1]), tmp_path, [talk(9)])


def test_a_recording_holds_no_address_and_no_talk(recorded: Any) -> None:
    text = recorded[1].read_text()
    assert "127.0.0.1" not in text and "talk-0" not in text and "request_id" not in text
    header = read_header(recorded[1])
    assert (header.label, header.model, header.settings) == (
        "openai/gpt-5-mini", "gpt-5-mini", {"temperature": 0.5, "seed": 11}
    )  # fmt: skip


def changed_prompts(file: Path) -> None:
    lines = file.read_text().splitlines()
    header = json.loads(lines[0])
    header["prompts"]["answers"] = "0" * 64
    file.write_text("\n".join([json.dumps(header), *lines[1:]]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.write_text("hello"), "is not a recording"),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), "is not a recording"),
        (changed_prompts, "recorded with other prompts for answers; "),
    ],
)
def test_what_cannot_be_replayed_is_a_problem_in_words(
    recorded: Any, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_bytes(recorded[1].read_bytes())
    spoil(file)
    problems = replay(file).problems()
    assert len(problems) == 1 and message in problems[0]


def test_a_broken_line_is_named(recorded: Any, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(recorded[1].read_text() + '{"key": 1}\n')
    with pytest.raises(ConfigError, match=r"line \d+ of .* is no reply"):
        replay(file).begin(tmp_path)


def test_only_one_teacher_is_recorded_at_a_time(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / CALLS)
    with pytest.raises(AssetError, match="nothing to record"):
        record(ledger, tmp_path / "calls.jsonl")
    for model in ("one", "two"):
        first_call = call(1, model)
        ledger.keep(first_call, ledger.intend(first_call, 0.0), Reply(model, "stop"), 0.0)
    with pytest.raises(ConfigError, match="openai/one, openai/two"):
        record(ledger, tmp_path / "calls.jsonl")
    assert record(ledger, tmp_path / "calls.jsonl", label="openai/two") == 1
    assert prompting.sha256("answers") in (tmp_path / "calls.jsonl").read_text()


def test_an_answer_that_was_paid_for_is_not_requested_again_under_another_cap(tmp_path: Path) -> None:
    paid = []
    with TeacherServer(Plan()) as server:
        for cap in (900, 1200):
            options = OpenAITeacher.Options(model="gpt-5-mini", base_url=server.url, answer_tokens=cap)
            run(OpenAITeacher(options), tmp_path, TALKS[:1])
            paid.append(server.account.paid_calls)
    assert paid == [2, 2], "one call for the questions, one for the answers"


def test_the_key_is_in_no_file_of_the_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with TeacherServer(Plan()) as server:
        run(OpenAITeacher(OpenAITeacher.Options(model="gpt-5-mini", base_url=server.url)), tmp_path, TALKS[:1])
    assert (tmp_path / CALLS).exists()
    assert not [file for file in tmp_path.iterdir() if KEY.encode() in file.read_bytes()]
