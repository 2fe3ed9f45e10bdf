"""Stage `extract_questions`, pass 1: the whole talk in, numbered standalone questions out."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from understudy.calls.parts import Part, parts
from understudy.errors import MalformedReply, TalkTooLong
from understudy.interfaces import ReplyItem, Teacher, TeacherRequest
from understudy.records import Document, Question, Questions
from understudy.sections import QuestionSettings
from understudy.text.similarity import near_duplicates
from understudy.text.standalone import standalone_problem

VERSION = 2
ROUNDS = 3
NEAR_DUPLICATE = 0.8
EXHAUSTED = 4
"""A talk is exhausted when fewer than one in so many further questions came."""
LEAST_ACCEPTED = 0.25
"""Share of further questions that is expected to become pairs, however many were refused so far."""


class Usable(NamedTuple):
    """What pass 1 over one part of a talk gave."""

    items: list[ReplyItem]
    dropped: Counter[str]
    usd: float
    problem: str | None = None


def extract(document: Document, teacher: Teacher, settings: QuestionSettings) -> Questions:
    """The questions `document` answers, numbered from 1 in the order of the talk.

    Raises MalformedReply when the teacher finds none, and what the teacher raises.
    """
    window = teacher.window()
    try:
        return _extract(document, teacher, settings)
    except TalkTooLong:  # the refusal may state the window: then the talk is read in parts that fit it
        if (teacher.window() or 0) >= (window or math.inf) or teacher.window() is None:
            raise
        return _extract(document, teacher, settings)


def _extract(document: Document, teacher: Teacher, settings: QuestionSettings) -> Questions:
    pieces = parts(document, teacher.tokens, teacher.window())
    questions: list[Question] = []
    problem: str | None = None
    dropped: Counter[str] = Counter()
    usd = 0.0
    for part in pieces:
        count = question_count(part.document, settings)
        usable = _ask(part.document, teacher, count)
        if settings.per_unit and usable.items and not teacher.deterministic:
            usable = _filled(part.document, teacher, count, usable)
        dropped, usd, problem = dropped + usable.dropped, usd + usable.usd, usable.problem or problem
        questions += [_question(item, part, len(questions) + at) for at, item in enumerate(usable.items, 1)]
    if not questions:
        detail = f"{document.words} words" + (f", dropped: {dict(dropped)}" if dropped else "")
        detail = problem or detail
        raise MalformedReply(f"{teacher.label} wrote no question about {document.document_id} ({detail})")
    return Questions(
        document_id=document.document_id,
        teacher=teacher.label,
        prompt_sha256=teacher.prompt_sha256("questions"),
        tokens=teacher.tokens(document.text),
        parts=len(pieces),
        dropped=dict(dropped),
        usd=usd,
        missing=_missing(len(questions), settings, dropped),
        questions=questions,
    )


def extend(document: Document, known: Questions, teacher: Teacher, extra: int) -> Questions:
    """`known` with up to `extra` further questions, numbered on; `exhausted` where the talk hardly holds any more."""
    pieces = parts(document, teacher.tokens, teacher.window(), known.parts)
    questions, dropped, usd = list(known.questions), Counter(known.dropped), known.usd
    for part in pieces:
        asked, count = [q.question for q in questions], -(-extra // len(pieces))
        usable = _further(part.document, teacher, count, asked)
        dropped, usd = dropped + usable.dropped, usd + usable.usd
        questions += [_question(item, part, len(questions) + at) for at, item in enumerate(usable.items, 1)]
    added = len(questions) - len(known.questions)
    return known.model_copy(
        update={"questions": questions, "dropped": dict(dropped), "usd": usd, "exhausted": added * EXHAUSTED < extra}
    )


def room(questions: Questions, settings: QuestionSettings) -> int:
    """How many more questions a talk may be asked."""
    return 0 if questions.exhausted else max(0, settings.at_most - len(questions.questions))


def further(target: int, accepted: int, asked: int, rooms: Mapping[str, int]) -> dict[str, int]:
    """How many more questions each talk is asked so that about `target` pairs are accepted; {} when none has room.

    Talks with more room are asked more. As many of them are expected to be accepted as of those asked so far.
    """
    whole = sum(rooms.values())
    if accepted >= target or not whole:
        return {}
    needed = min(whole, math.ceil((target - accepted) / max(accepted / max(1, asked), LEAST_ACCEPTED)))
    shares = dict[str, int]()
    for name in sorted(rooms, key=lambda name: (-rooms[name], name)):
        shares[name] = min(rooms[name], math.ceil(needed * rooms[name] / whole), needed - sum(shares.values()))
    return {name: share for name, share in shares.items() if share}


def requests(document: Document, teacher: Teacher, settings: QuestionSettings) -> list[TeacherRequest]:
    """What `extract` asks first, one request for each part."""
    pieces = parts(document, teacher.tokens, teacher.window())
    return [request(part.document, question_count(part.document, settings), 0) for part in pieces]


def request(document: Document, count: int, attempt: int = 0) -> TeacherRequest:
    """Pass 1 over a talk or a part of one."""
    return TeacherRequest(kind="questions", document=document, count=count, round=attempt)


def question_count(document: Document, settings: QuestionSettings) -> int:
    """How many questions to request for a talk of this length."""
    if settings.per_unit:
        return min(settings.at_most, settings.per_unit)
    seconds = document.duration_seconds or document.words / settings.words_per_minute * 60
    return max(1, min(settings.at_most, round(seconds / settings.seconds_per_question)))


def _ask(document: Document, teacher: Teacher, count: int) -> Usable:
    """The best of a few replies: the first that brings at least half of what was wanted, else the longest."""
    best, usd, problem = Usable([], Counter(), 0.0), 0.0, None
    for attempt in range(ROUNDS):
        reply = teacher.reply(request(document, count, attempt))
        usd, problem = usd + reply.usd, reply.problem or problem
        usable = _usable(reply.items, count)
        if len(usable.items) > len(best.items) or not attempt:
            best = usable
        if len(best.items) * 2 >= count or teacher.deterministic:
            break
    return best._replace(usd=usd, problem=problem)


def _further(document: Document, teacher: Teacher, count: int, asked: list[str]) -> Usable:
    """Up to `count` questions that are not among `asked`."""
    # A teacher that reads no list of what was asked starts from scratch; what is known already is dropped below.
    wanted = count if teacher.prompted else count + len(asked)
    reply = teacher.reply(request(document, wanted).model_copy(update={"others": asked}))
    return _usable(reply.items, count, asked)._replace(usd=reply.usd)


def _filled(document: Document, teacher: Teacher, count: int, usable: Usable) -> Usable:
    """`usable` with further questions up to `count`, unless the teacher has no more."""
    for _ in range(ROUNDS - 1):
        if len(usable.items) >= count:
            break
        more = _further(document, teacher, count - len(usable.items), [item.text for item in usable.items])
        items, dropped = [*usable.items, *more.items], usable.dropped + more.dropped
        usable = usable._replace(items=items, dropped=dropped, usd=usable.usd + more.usd)
        if not more.items:
            break
    return usable


def _missing(count: int, settings: QuestionSettings, dropped: Mapping[str, int]) -> str | None:
    """Why a section has fewer questions than the preset wants."""
    if not settings.per_unit or count >= min(settings.at_most, settings.per_unit):
        return None
    why = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
    return "the teacher found no more in it" + (f"; not usable: {why}" if why else "")


def _usable(items: list[ReplyItem], count: int, known: Sequence[str] = ()) -> Usable:
    """The questions that stand alone and are not `known`, each once, at most `count`; why the others were dropped."""
    dropped: Counter[str] = Counter()
    tidy = [item.model_copy(update={"text": " ".join(item.text.split())}) for item in items]
    alone = []
    for item in tidy:
        problem = standalone_problem(item.text) if item.text else "empty"
        dropped.update([problem] if problem else [])
        alone += [] if problem else [item]
    pairs = near_duplicates([*known, *(item.text for item in alone)], NEAR_DUPLICATE)
    doubles = {max(pair) - len(known) for pair in pairs if max(pair) >= len(known)}
    dropped.update({"near-duplicate": len(doubles)} if doubles else {})
    items = [item for at, item in enumerate(alone) if at not in doubles]
    dropped.update({"more than asked for": len(items) - count} if len(items) > count else {})
    return Usable(items[:count], dropped, 0.0)


def _question(item: ReplyItem, part: Part, number: int) -> Question:
    return Question(
        question_number=number,
        question=item.text,
        tags=item.tags,
        first_paragraph=_inside(item.first_paragraph, part),
        last_paragraph=_inside(item.last_paragraph, part),
        type=item.type,
        difficulty=item.difficulty,
        part=part.number if part.of > 1 else None,
    )


def _inside(paragraph: int | None, part: Part) -> int | None:
    """The paragraph's index in the whole talk; None where the part has no such paragraph."""
    exists = paragraph is not None and 0 <= paragraph < len(part.document.paragraphs)
    return part.first + paragraph if exists and paragraph is not None else None
