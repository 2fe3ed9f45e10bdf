"""Laws of the teacher in a GGUF file: even random weights answer in form, nothing is asked twice, nothing is left."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.calls import Call, Reply, TryAgain
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.errors import TeacherError, TeacherStopped
from understudy.interfaces import TeacherRequest
from understudy.records import Document, Paragraph, Question
from understudy.registry import build
from understudy.serving.gguf import Gguf
from understudy.teachers.llama_cpp import LlamaCppTeacher

DOCUMENT = Document(
    document_id="ice", title="Ice", locator="ice", how="made",
    paragraphs=[Paragraph(text=f"Ice floats on {n} drops of water.") for n in range(40)],
)  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer"}, "text": {"type": "string", "maxLength": 5000}},
    "required": ["number", "text"],
    "additionalProperties": False,
}


@pytest.fixture
def make(wide_gguf: Path) -> Iterator[Callable[..., LlamaCppTeacher]]:
    """Teachers over that model, closed at the end."""
    teachers: list[LlamaCppTeacher] = []

    def make(**options: Any) -> LlamaCppTeacher:
        settings = {"model": str(wide_gguf), "threads": 1, "gpu_layers": 0, "answer_tokens": 50} | options
        teacher = build("teacher", "llama_cpp", settings)
        assert isinstance(teacher, LlamaCppTeacher)
        teachers.append(teacher)
        return teacher

    yield make
    for teacher in teachers:
        teacher.close()


def send(teacher: LlamaCppTeacher, text: str = "Go.", max_tokens: int = 24, **changes: Any) -> Reply:
    """One call over the teacher's own transport, with no retry around it."""
    messages = ({"role": "system", "content": "You teach."}, {"role": "user", "content": text})
    settings = {"settings": {"temperature": 0.0, "seed": 7}, "max_tokens": max_tokens, "messages": messages} | changes
    call = Call(kind="answers", document_id="ice", label="l", model=teacher.model, **{"schema": None} | settings)

    async def once() -> Reply:
        transport = teacher._transport()
        try:
            return await transport.send(call)
        finally:
            await transport.close()  # type: ignore[attr-defined]

    return asyncio.run(once())


def test_a_request_goes_to_the_model_once_and_its_reply_stays(
    make: Callable[..., LlamaCppTeacher], wide_gguf: Path, tmp_path: Path
) -> None:
    teacher = make()
    assert teacher.problems() == []
    assert teacher.tokens("Ice floats.") > 1
    questions = [Question(question_number=n, question=f"Why does ice float, in case {n}?") for n in (1, 2)]
    request = TeacherRequest(kind="answers", document=DOCUMENT, questions=questions)
    replies = []
    for _ in range(2):
        teacher.begin(tmp_path)
        assert teacher.window() == round(16384 * 0.65)
        replies.append(teacher.reply(request))
        teacher.close()
    ledger = CallLedger(tmp_path / CALLS)
    (total,) = ledger.summary()
    assert (total.calls, total.usd, total.failed) == (1, 0.0, 0)
    assert replies[0].items == replies[1].items
    assert {item.question_number for item in replies[0].items} <= {1, 2}
    assert json.loads(ledger.note("recording") or "")["label"] == f"llama_cpp/{wide_gguf.name}"


def test_the_server_and_its_process_end_with_the_teacher(make: Callable[..., LlamaCppTeacher], tmp_path: Path) -> None:
    teacher = make()
    teacher.begin(tmp_path)
    server = teacher._server
    process = server.model.process
    assert process and process.poll() is None and server.token
    assert (tmp_path / "teacher.log").exists()
    teacher.close()
    assert process.poll() is not None and not server._thread.is_alive()


def test_a_call_is_answered_as_by_any_server(make: Callable[..., LlamaCppTeacher]) -> None:
    teacher = make()
    reply = send(teacher, schema=SCHEMA, max_tokens=9)
    assert (reply.finish, reply.refusal) == ("length", None) and reply.text.lstrip().startswith("{")
    assert reply.usage and reply.usage.output == 9
    texts = [send(teacher, settings={"temperature": 1.0, "seed": seed}).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_that_does_not_fit_names_the_talk_its_tokens_and_the_window(
    make: Callable[..., LlamaCppTeacher],
) -> None:
    teacher = make(context_window=1000)
    with pytest.raises(TeacherError, match=r"ice: .* has 1,\d{3} tokens, the model's context is 1,000"):
        send(teacher, "Ice floats on water. " * 60)
    assert send(teacher, "short").text


def test_a_crash_costs_one_call_and_two_in_a_row_stop_the_teacher(
    make: Callable[..., LlamaCppTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = make()
    expected = send(teacher).text
    running = teacher._server.model._running

    def killed() -> "subprocess.Popen[str]":
        """The process of a request, with a fault that meets it before the request's answer is complete."""
        process = running()
        os.kill(process.pid, signal.SIGSEGV)
        return process

    def crash() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(teacher._server.model, "_running", killed)
            send(teacher, "Go on.")

    with pytest.raises(TryAgain, match=r"HTTP 503: .*its process ended \(SIGSEGV\)"):
        crash()
    assert send(teacher).text == expected
    with pytest.raises(TryAgain):
        crash()
    with pytest.raises(TeacherStopped, match="SIGSEGV.*a smaller context"):
        crash()


def test_thinking_is_switched_off_and_a_missing_system_role_is_made_up_for(gguf: Path) -> None:
    file = Gguf(gguf)
    prompt = file.prompt([{"role": "system", "content": "none"}, {"role": "user", "content": "Why?"}])
    text = b"".join(map(file.piece, prompt)).decode()
    assert "<|start_header_id|>user<|end_header_id|>none\n\nWhy?<|eot_id|>" in text and text.endswith("<think></think>")


@pytest.mark.parametrize(
    ("model", "file", "problem"),
    [
        ("{tmp}/gone.gguf", None, "does not exist"),
        ("gone.gguf", None, "does not exist"),
        ("{tmp}", None, "is a folder"),
        ("{tmp}/page.gguf", None, "is not a GGUF file"),
        ("not a repository", "*.gguf", "neither a GGUF file nor 'owner/name'"),
        ("a/b/c", "*.gguf", "neither a GGUF file nor 'owner/name'"),
        ("Qwen/Qwen3-8B-GGUF", None, "give a pattern"),
        ("Qwen/Qwen3-8B-GGUF", "*Q4_K_M.gguf", None),
        ("{gguf}", None, None),
    ],
)
def test_problems_are_told_without_loading(
    make: Callable[..., LlamaCppTeacher], model: str, file: str | None, problem: str | None, gguf: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    teacher = make(model=model.format(tmp=tmp_path, gguf=gguf), file=file)
    problems = teacher.problems()
    assert "_server" not in vars(teacher)
    assert not problems if problem is None else len(problems) == 1 and problem in problems[0]


def test_a_file_llama_cpp_refuses_stops_the_teacher(
    make: Callable[..., LlamaCppTeacher], gguf: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:300_000])
    teacher = make(model=str(tmp_path / "cut.gguf"))
    with pytest.raises(TeacherStopped, match=r"cut\.gguf does not answer: llama\.cpp cannot load it"):
        send(teacher)
    with pytest.raises(TeacherStopped, match=r"cut\.gguf"):
        teacher.tokens("Ice.")
