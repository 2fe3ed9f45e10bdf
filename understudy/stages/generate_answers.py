"""
Stage `generate_answers`, pass 2: all numbered questions of a talk answered in one request.

The numbers of the answers must be those of the questions, and each answer must fit its question: the teacher's reply
has been read with that in mind (`understudy.calls.likeness`). Numbers that are missing, empty, duplicated with another
text, doubtful or refused are requested again, and only those: first together, then in halves, then one by one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from understudy.calls.likeness import Asked, doubtful
from understudy.calls.parts import Part, parts
from understudy.calls.replies import reasoned
from understudy.errors import ContentRefused
from understudy.interfaces import ReplyItem, Teacher, TeacherReply, TeacherRequest
from understudy.records import Answer, Answers, Document, Question, Questions
from understudy.sections import AnswerSettings

VERSION = 2
PLACING = "1"
"""Raised when the rule for misplaced answers changes: answers on disk are then checked by it once."""
REFUSALS = 3  # of one number, before it is let be: a refusal may be a whim, three are an answer


class Tried(NamedTuple):
    """What pass 2 over one part of a talk gave, by question number."""

    texts: dict[int, str]
    failed: dict[int, str]
    repaired: set[int]
    counts: Counter[str]
    """'moved' and 'misplaced', as in TeacherReply."""
    usd: float


def answer(document: Document, questions: Questions, teacher: Teacher, settings: AnswerSettings) -> Answers:
    """Exactly one entry per question number: the answer, or why there is none."""
    tried = [
        _answered(
            part.document, group, teacher, 0 if teacher.deterministic else settings.max_repairs, settings.per_call
        )
        for part, group in _by_part(document, questions, teacher)
    ]
    texts = {number: text for part in tried for number, text in part.texts.items()}
    failed = {number: why for part in tried for number, why in part.failed.items()}
    counts = sum((part.counts for part in tried), Counter[str]())
    return Answers(
        document_id=document.document_id,
        teacher=teacher.label,
        prompt_sha256=teacher.prompt_sha256("answers"),
        usd=sum(part.usd for part in tried),
        repaired=sum(len(part.repaired) for part in tried),
        moved=counts["moved"],
        misplaced=counts["misplaced"],
        answers=[
            _entry(q.question_number, texts, failed, reasons=document.section is not None) for q in questions.questions
        ],
    )


def misplaced(document: Document, questions: Questions, answers: Answers) -> set[int]:
    """The numbers of a talk whose answer, kept before, may well be another question's."""
    texts = {one.question_number: one.answer for one in answers.answers if one.answer}
    wording = {one.question_number: one.question for one in questions.questions}
    asked = Asked({number: wording[number] for number in texts}, passages=[p.text for p in document.paragraphs])
    return doubtful(texts, asked)


def requests(
    document: Document, questions: Questions, teacher: Teacher, settings: AnswerSettings | None = None
) -> list[TeacherRequest]:
    """What `answer` asks first, one request or several for each part."""
    return [
        TeacherRequest(kind="answers", document=part.document, questions=list(batch))
        for part, of_part in _by_part(document, questions, teacher)
        for batch in _batches(of_part, settings.per_call if settings else None)
    ]


def _by_part(document: Document, questions: Questions, teacher: Teacher) -> list[tuple[Part, list[Question]]]:
    """Each part of the talk with the questions that came from it; one part when the talk fits whole."""
    if questions.parts == 1:
        return [(Part(1, 1, 0, document), questions.questions)]
    pieces = parts(document, teacher.tokens, teacher.window(), questions.parts)
    return [(piece, [q for q in questions.questions if q.part == piece.number]) for piece in pieces]


def _batches(questions: Sequence[Question], per_call: int | None) -> list[Sequence[Question]]:
    """The questions in groups of about equal size, each of at most `per_call`; one group where that is None."""
    calls = -(-len(questions) // per_call) if per_call else 1
    size = max(1, -(-len(questions) // max(1, calls)))
    return [questions[at : at + size] for at in range(0, len(questions), size)]


def _answered(
    document: Document, questions: list[Question], teacher: Teacher, max_repairs: int, per_call: int | None = None
) -> Tried:
    """Ask for all numbers at once, then only for the missing ones, in ever smaller calls."""
    texts: dict[int, str] = {}
    failed: dict[int, str] = {}
    refusals: Counter[int] = Counter()
    counts: Counter[str] = Counter()
    usd, repaired = 0.0, set()
    batches = _batches(questions, per_call)
    content: ContentRefused | None = None
    for attempt in range(max_repairs + 1):
        for batch in batches:
            others = [q.question for q in questions if q not in batch]
            request = TeacherRequest(
                kind="answers", document=document, questions=list(batch), others=others, round=attempt
            )
            try:
                reply = teacher.reply(request)
            except ContentRefused as error:  # perhaps for one question alone: smaller calls show which
                content, alone = error, len(batch) == 1
                refused = {q.question_number: str(error) for q in batch if alone}
                reply = TeacherReply(items=[], refused=refused, problem=str(error))
            usd += reply.usd
            counts.update(moved=reply.moved, misplaced=reply.misplaced)
            good = accepted(reply.items, {q.question_number for q in batch})
            texts |= good
            absent = [q.question_number for q in batch if q.question_number not in texts]
            why = "no usable answer came back" + (f": {reply.problem}" if reply.problem else "")
            failed |= {n: reply.refused.get(n, why) for n in absent}
            refusals.update(number for number in absent if number in reply.refused)
            repaired |= set(good) if attempt else set()
        missing = [q for q in questions if q.question_number not in texts and refusals[q.question_number] < REFUSALS]
        if not missing or (content and not texts and len(batches) == len(missing)):
            break
        batches = [part for batch in _smaller(missing, attempt) for part in _batches(batch, per_call)]
    if content and not texts:
        raise content
    return Tried(texts, failed, repaired, counts, usd)


def accepted(items: Sequence[ReplyItem], numbers: set[int]) -> dict[int, str]:
    """The items that can be trusted: requested, not empty, and not duplicated with another text."""
    texts: dict[int, set[str]] = {}
    for item in items:
        if item.question_number in numbers and item.text.strip():
            texts.setdefault(item.question_number, set()).add(item.text.strip())
    return {number: answers.pop() for number, answers in texts.items() if len(answers) == 1}


def tally(answers: Answers) -> Counter[str]:
    """Asked, answered, repaired, moved, misplaced and failed; asked = answered + failed."""
    answered = sum(a.answer is not None for a in answers.answers)
    return Counter(
        asked=len(answers.answers),
        answered=answered,
        repaired=answers.repaired,
        moved=answers.moved,
        misplaced=answers.misplaced,
        failed=len(answers.answers) - answered,
    )


def _smaller(missing: Sequence[Question], attempt: int) -> list[Sequence[Question]]:
    """How to ask again: all together the first time, then in halves, then singly."""
    if attempt == 0 or len(missing) == 1:
        return [missing]
    if attempt == 1:
        half = (len(missing) + 1) // 2
        return [missing[:half], missing[half:]]
    return [[question] for question in missing]


def _entry(number: int, texts: dict[int, str], failed: dict[int, str], reasons: bool = False) -> Answer:
    if number in texts:
        reasoning, text = reasoned(texts[number]) if reasons else (None, texts[number])
        return Answer(question_number=number, answer=text, reasoning=reasoning)
    return Answer(question_number=number, failed=failed[number])
