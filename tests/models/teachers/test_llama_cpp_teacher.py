"""The teacher in a GGUF file, from request to items: even random weights answer in form, and nothing is asked twice."""

import json
from pathlib import Path

from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.interfaces import TeacherRequest
from understudy.records import Document, Paragraph, Question
from understudy.registry import build

DOCUMENT = Document(
    document_id="ice", title="Ice", locator="ice", how="made",
    paragraphs=[Paragraph(text=f"Ice floats on {n} drops of water.") for n in range(40)],
)  # fmt: skip


def test_a_request_goes_to_the_model_once_and_its_reply_stays(wide_gguf: Path, tmp_path: Path) -> None:
    told = {"model": str(wide_gguf), "threads": 1, "gpu_layers": 0, "answer_tokens": 50}
    teacher = build("teacher", "llama_cpp", told)
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
    told = json.loads(ledger.note("recording") or "")
    assert told["label"] == f"llama_cpp/{wide_gguf.name}"


def test_a_model_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    teacher = build("teacher", "llama_cpp", {"model": str(tmp_path / "nothing.gguf")})
    assert any("does not exist" in problem for problem in teacher.problems())
