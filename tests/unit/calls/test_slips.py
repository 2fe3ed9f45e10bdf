"""A teacher that miscounts, over HTTP and through the whole pass: nothing on a wrong question, nothing lost."""

from pathlib import Path

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.fixtures.teacher_words import answer_for, question_for
from understudy.records import Document, Question, Questions
from understudy.sections import AnswerSettings
from understudy.sources.documents import DocumentsSource
from understudy.stages.generate_answers import answer
from understudy.teachers.openai import OpenAITeacher

TALKS = Path(__file__).resolve().parents[3] / "deployments/sample_channel"
NUMBERS = range(1, 11)


@pytest.fixture(scope="module")
def document() -> Document:
    source = DocumentsSource(DocumentsSource.Options(path=TALKS))
    return source.fetch(next(iter(source.entries())))


@pytest.mark.parametrize(
    "fault", ["renumbered", "merged", "skipped", "rotated", "echoed", "shuffled", "duplicate", "missing"]
)
def test_whatever_a_teacher_does_to_the_numbers_each_answer_is_its_questions(
    fault: str, document: Document, tmp_path: Path
) -> None:
    talk = "\n\n".join(f"[{at}] {paragraph.text}" for at, paragraph in enumerate(document.paragraphs))
    texts = {n: question_for(talk, n).split("\n")[0] for n in NUMBERS}
    listed = [Question(question_number=n, question=text) for n, text in texts.items()]
    questions = Questions(document_id=document.document_id, teacher="t", questions=listed)
    with TeacherServer(Plan(**{fault: 0.8}, words=80)) as server:
        options = {"model": "gpt-5-mini", "base_url": server.url, "price": {"input": 1.0, "output": 1.0}}
        teacher = OpenAITeacher(OpenAITeacher.Options.model_validate(options))
        teacher.begin(tmp_path)
        answers = answer(document, questions, teacher, AnswerSettings()).answers
        teacher.close()
    assert [one.question_number for one in answers if one.answer] == list(NUMBERS), "nothing is lost"
    for one in answers:
        right = answer_for(talk, texts[one.question_number], 80)
        assert one.answer and one.answer.startswith(right), "a merged answer begins with its own"
