"""Stage `extract_questions`, pass 1: the whole talk in, numbered standalone questions out."""

from understudy.config import QuestionSettings
from understudy.errors import MalformedReply
from understudy.interfaces import Teacher, TeacherRequest
from understudy.records import Document, Question, Questions

VERSION = 1


def extract(document: Document, teacher: Teacher, settings: QuestionSettings) -> tuple[Questions, float]:
    """The questions `document` answers, numbered from 1 in the order of the talk, and what they cost in USD."""
    count = wanted(document, settings)
    reply = teacher.reply(TeacherRequest(kind="questions", document=document, count=count))
    seen: set[str] = set()
    questions = []
    for item in reply.items[:count]:
        text = " ".join(item.text.split())
        if text and text.lower() not in seen:
            seen.add(text.lower())
            questions.append(
                Question(
                    question_number=len(questions) + 1,
                    question=text,
                    tags=item.tags,
                    first_paragraph=_inside(item.first_paragraph, document),
                    last_paragraph=_inside(item.last_paragraph, document),
                )
            )
    if not questions:
        raise MalformedReply(f"{teacher.label} found no question in {document.document_id} ({document.words} words)")
    return Questions(
        document_id=document.document_id,
        teacher=teacher.label,
        prompt_sha256=teacher.prompt_sha256,
        questions=questions,
    ), reply.usd


def wanted(document: Document, settings: QuestionSettings) -> int:
    """How many questions a talk of this length is asked for."""
    seconds = document.duration_seconds or document.words / settings.words_per_minute * 60
    return max(1, min(settings.at_most, round(seconds / settings.seconds_per_question)))


def _inside(paragraph: int | None, document: Document) -> int | None:
    return paragraph if paragraph is not None and 0 <= paragraph < len(document.paragraphs) else None
