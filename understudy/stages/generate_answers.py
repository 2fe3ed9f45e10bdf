"""
Stage `generate_answers`, pass 2: all numbered questions of a talk answered in one request.

The numbers answered must be the numbers asked. What is missing, empty, doubled with another text
or refused is asked again, and only that: first together, then in halves, then one by one.
Matching is by number and by nothing else.
"""

from collections import Counter
from collections.abc import Sequence

from understudy.config import AnswerSettings
from understudy.interfaces import ReplyItem, Teacher, TeacherRequest
from understudy.records import Answer, Answers, Document, Question, Questions

VERSION = 1


def answer(
    document: Document, questions: Questions, teacher: Teacher, settings: AnswerSettings, usd_before: float = 0.0
) -> Answers:
    """Exactly one entry per question number: the answer, or why there is none."""
    texts: dict[int, str] = {}
    failed: dict[int, str] = {}
    usd, repaired = usd_before, set()
    batches: list[Sequence[Question]] = [questions.questions]
    for attempt in range(settings.max_repairs + 1):
        for batch in batches:
            reply = teacher.reply(TeacherRequest(kind="answers", document=document, questions=list(batch)))
            usd += reply.usd
            good = accepted(reply.items, {q.question_number for q in batch})
            texts |= good
            missing = [q.question_number for q in batch if q.question_number not in texts]
            failed |= {n: reply.refused.get(n, "no usable answer came back") for n in missing}
            repaired |= set(good) if attempt else set()
        left = [q for q in questions.questions if q.question_number not in texts]
        if not left:
            break
        batches = _smaller(left, attempt)
    return Answers(
        document_id=document.document_id,
        teacher=teacher.label,
        prompt_sha256=teacher.prompt_sha256,
        usd=usd,
        repaired=len(repaired),
        answers=[_entry(q.question_number, texts, failed) for q in questions.questions],
    )


def accepted(items: Sequence[ReplyItem], asked: set[int]) -> dict[int, str]:
    """The items that can be trusted: asked for, not empty, and not given twice with two texts."""
    texts: dict[int, set[str]] = {}
    for item in items:
        if item.question_number in asked and item.text.strip():
            texts.setdefault(item.question_number, set()).add(item.text.strip())
    return {number: found.pop() for number, found in texts.items() if len(found) == 1}


def tally(answers: Answers) -> Counter[str]:
    """Asked, answered, repaired and failed; asked = answered + failed."""
    answered = sum(a.answer is not None for a in answers.answers)
    return Counter(
        asked=len(answers.answers),
        answered=answered,
        repaired=answers.repaired,
        failed=len(answers.answers) - answered,
    )


def _smaller(left: Sequence[Question], attempt: int) -> list[Sequence[Question]]:
    """How to ask again: all together the first time, then in halves, then singly."""
    if attempt == 0 or len(left) == 1:
        return [left]
    if attempt == 1:
        half = (len(left) + 1) // 2
        return [left[:half], left[half:]]
    return [[question] for question in left]


def _entry(number: int, texts: dict[int, str], failed: dict[int, str]) -> Answer:
    if number in texts:
        return Answer(question_number=number, answer=texts[number])
    return Answer(question_number=number, failed=failed[number])
