"""The numbers answered are the numbers asked, whatever the teacher sends back."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from understudy.errors import MalformedReply
from understudy.interfaces import Progress, ReplyItem, TeacherReply, TeacherRequest
from understudy.records import Document, Paragraph, Question, Questions
from understudy.sections import AnswerSettings, QuestionSettings
from understudy.stages.extract_questions import extract, question_count
from understudy.stages.generate_answers import answer, tally

DOCUMENT = Document(document_id="d", title="D", locator="d", how="test", paragraphs=[Paragraph(text="word " * 300)])
QUESTIONS = Questions(
    document_id="d", teacher="t", questions=[Question(question_number=n, question=f"What is {n}?") for n in range(1, 9)]
)
Reply = Callable[[int, list[int]], TeacherReply]


class ScriptedTeacher:
    """Replies by rule and remembers which numbers each request asked for."""

    label, deterministic, batches, prompted = "scripted", False, False, False

    def __init__(self, rule: Reply, window: int | None = None) -> None:
        self.rule, self.limit = rule, window
        self.asked: list[list[int]] = []
        self.requests: list[TeacherRequest] = []

    def prompt_sha256(self, kind: str) -> str | None:
        return None

    def begin(self, folder: Path) -> None: ...

    def window(self) -> int | None:
        return self.limit

    def tokens(self, text: str) -> int:
        return len(text.split())

    def submit_batch(self, requests: Iterable[TeacherRequest], progress: Progress) -> int:
        return 0

    def close(self) -> None: ...

    def problems(self) -> list[str]:
        return []

    def reply(self, request: TeacherRequest) -> TeacherReply:
        numbers = [q.question_number for q in request.questions]
        self.asked.append(numbers)
        self.requests.append(request)
        return self.rule(len(self.asked), numbers)


def items(*numbers: int, text: str = "answer {}") -> list[ReplyItem]:
    return [ReplyItem(question_number=n, text=text.format(n)) for n in numbers]


def run(rule: Reply, max_repairs: int = 3) -> tuple[dict[int, str | None], ScriptedTeacher, dict[str, int]]:
    teacher = ScriptedTeacher(rule)
    result = answer(DOCUMENT, QUESTIONS, teacher, AnswerSettings(max_repairs=max_repairs))
    counts = tally(result)
    assert counts["asked"] == counts["answered"] + counts["failed"] == 8
    return {a.question_number: a.answer for a in result.answers}, teacher, counts


def test_a_full_reply_takes_one_request_and_matches_by_number() -> None:
    answers, teacher, _ = run(lambda _, n: TeacherReply(items=items(*reversed(n))))
    assert answers == {n: f"answer {n}" for n in range(1, 9)} and len(teacher.asked) == 1


def test_only_missing_numbers_are_asked_again_together_then_halved_then_singly() -> None:
    _, teacher, counts = run(lambda _, n: TeacherReply(items=items(*(x for x in n if x < 4 or len(n) == 1))), 3)
    assert teacher.asked == [list(range(1, 9)), [4, 5, 6, 7, 8], [4, 5, 6], [7, 8], [4], [5], [6], [7], [8]]
    assert counts["repaired"] == 5


def test_a_number_with_two_texts_is_trusted_in_neither() -> None:
    def rule(call: int, numbers: list[int]) -> TeacherReply:
        return TeacherReply(items=items(*numbers) + (items(1, text="other {}") if call == 1 else []))

    answers, teacher, _ = run(rule)
    assert teacher.asked[1] == [1] and answers[1] == "answer 1"


def test_empty_and_unasked_numbers_do_not_count() -> None:
    answers, teacher, _ = run(
        lambda call, n: TeacherReply(items=items(*n[1:], 99) + (items(n[0], text=" ") if call == 1 else items(n[0])))
    )
    assert teacher.asked[1] == [1] and 99 not in answers


def test_what_never_comes_is_failed_with_the_teachers_words() -> None:
    teacher = ScriptedTeacher(
        lambda _, n: TeacherReply(items=items(*(x for x in n if x != 5)), refused={5: "I will not."})
    )
    result = answer(DOCUMENT, QUESTIONS, teacher, AnswerSettings(max_repairs=1))
    [failed] = [a for a in result.answers if a.answer is None]
    assert (failed.question_number, failed.failed) == (5, "I will not.")


def test_the_number_of_questions_follows_the_length_of_the_talk() -> None:
    assert question_count(DOCUMENT, QuestionSettings(seconds_per_question=60)) == 2
    assert question_count(DOCUMENT.model_copy(update={"duration_seconds": 900.0}), QuestionSettings()) == 10
    assert question_count(DOCUMENT.model_copy(update={"duration_seconds": 1e6}), QuestionSettings(at_most=9)) == 9


def test_questions_are_renumbered_without_doubles_and_spans_stay_inside_the_talk() -> None:
    sent = [
        ReplyItem(question_number=n, text=t, first_paragraph=p, last_paragraph=p)
        for n, t, p in ((7, "What is heat?", 0), (7, "what is HEAT?", 0), (1, "What is cold?", 5))
    ]
    questions = extract(
        DOCUMENT, ScriptedTeacher(lambda *_: TeacherReply(items=sent)), QuestionSettings(seconds_per_question=20)
    )
    assert [(q.question_number, q.first_paragraph) for q in questions.questions] == [(1, 0), (2, None)]
    with pytest.raises(MalformedReply, match="no question"):
        extract(DOCUMENT, ScriptedTeacher(lambda *_: TeacherReply(items=[])), QuestionSettings())


def test_questions_that_do_not_stand_alone_are_dropped_and_counted() -> None:
    texts = ["What is heat?", "What does he say in this video?", "What is cold?", "What is dew?"]
    sent = [ReplyItem(question_number=n, text=t) for n, t in enumerate(texts, 1)]
    result = extract(
        DOCUMENT, ScriptedTeacher(lambda *_: TeacherReply(items=sent)), QuestionSettings(seconds_per_question=60)
    )
    assert [q.question for q in result.questions] == ["What is heat?", "What is cold?"]
    assert sum(result.dropped.values()) == 2


def test_a_reply_with_too_few_questions_is_asked_for_again() -> None:
    texts = [f"What is the {word}?" for word in ("sun", "moon", "wind", "rain", "snow", "hail")]

    def rule(call: int, numbers: list[int]) -> TeacherReply:
        return TeacherReply(items=[ReplyItem(question_number=n, text=t) for n, t in enumerate(texts[: call * 2], 1)])

    teacher = ScriptedTeacher(rule)
    result = extract(DOCUMENT, teacher, QuestionSettings(seconds_per_question=15))
    assert [request.round for request in teacher.requests] == [0, 1]
    assert len(result.questions) == 4


def test_a_talk_over_the_window_is_asked_part_by_part_in_both_passes() -> None:
    paragraphs = [Paragraph(text=f"p{at} " * 100) for at in range(6)]
    document = DOCUMENT.model_copy(update={"paragraphs": paragraphs})

    def rule(call: int, numbers: list[int]) -> TeacherReply:
        return TeacherReply(items=items(*numbers) if numbers else [
            ReplyItem(question_number=1, text=f"What is thing {call}?", first_paragraph=1, last_paragraph=2)
        ])  # fmt: skip

    teacher = ScriptedTeacher(rule, window=300)
    result = extract(document, teacher, QuestionSettings(seconds_per_question=1e6))
    assert [(q.question_number, q.part, q.first_paragraph) for q in result.questions] == [(1, 1, 1), (2, 2, 4)]
    assert (result.parts, result.tokens) == (2, 600)
    answers = answer(document, result, teacher, AnswerSettings())
    assert [a.question_number for a in answers.answers if a.answer] == [1, 2]
    assert teacher.asked[2:] == [[1], [2]]
    assert [r.document.paragraphs[0].text[:2] for r in teacher.requests] == ["p0", "p3", "p0", "p3"]


def test_a_number_that_is_refused_again_and_again_is_let_be() -> None:
    def rule(call: int, numbers: list[int]) -> TeacherReply:
        refused = {5: "I will not."} if 5 in numbers else {}
        return TeacherReply(items=items(*(n for n in numbers if n != 5)), refused=refused)

    teacher = ScriptedTeacher(rule)
    result = answer(DOCUMENT, QUESTIONS, teacher, AnswerSettings(max_repairs=9))
    assert teacher.asked == [[1, 2, 3, 4, 5, 6, 7, 8], [5], [5]]
    assert tally(result)["failed"] == 1
