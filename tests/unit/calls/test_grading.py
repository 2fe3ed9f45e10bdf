"""Laws of marking single answers: blind, each distinct answer once, and never a mark that was not given."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.written_server import WrittenServer
from understudy.calls import Reply, grading
from understudy.calls.prompting import RECIPES, Prompts
from understudy.errors import MalformedReply
from understudy.records import ARMS, Grade
from understudy.teachers.openai import OpenAITeacher

PROMPTS = Prompts(folder=RECIPES / "expert" / "prompts", fixed={"types": "- recall", "role": ""})
Rule = Callable[[dict[str, str]], str]


class MarkingServer(WrittenServer):
    """Marks by a rule, and keeps what it was shown."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.shown: list[dict[str, str]] = []

    def reply(self, messages: list[str]) -> str:
        fields: dict[str, str] = {}
        for line in messages[-1].split("\n"):
            fields |= json.loads(line)
        self.shown.append(fields)
        return self.rule(fields)


def by_number(fields: dict[str, str]) -> str:
    return json.dumps({letter: "820" in text for letter, text in fields.items() if letter in grading.LETTERS})


@contextmanager
def marked(rule: Rule, folder: Path, *answers: str) -> Iterator[tuple[Grade, MarkingServer]]:
    question = grading.Question("m#1", "m", "How far?", "To 820 marks.", dict(zip(ARMS, answers, strict=True)))
    with MarkingServer(rule) as server:
        model = OpenAITeacher(OpenAITeacher.Options(model="judge-1", base_url=server.url))
        model.prompts = PROMPTS
        model.begin(folder)
        try:
            yield grading.ask(model, question, 7), server
        finally:
            model.close()


def test_every_candidate_is_marked_by_what_it_said_and_none_is_named(tmp_path: Path) -> None:
    with marked(by_number, tmp_path, "To 640.", "To 820.", "As far as 820 marks.", "I do not know.") as (grade, server):
        assert grade.right == dict(zip(ARMS, (False, True, True, False), strict=True)) and grade.error is None
        [shown] = server.shown
        assert set(shown) == {"question", "reference", "A", "B", "C", "D"}
        assert not any(name in json.dumps(shown) for name in ("base", "adapter", "passages"))


def test_the_same_answer_is_shown_once_and_an_empty_one_is_wrong_without_a_call(tmp_path: Path) -> None:
    with marked(by_number, tmp_path, "To 820.", " ", "To  820.", "") as (grade, server):
        assert grade.right == dict(zip(ARMS, (True, False, True, False), strict=True))
        assert [set(shown) - {"question", "reference"} for shown in server.shown] == [{"A"}]
    with marked(by_number, tmp_path / "none", "", "", "", " ") as (grade, server):
        assert grade.right == dict.fromkeys(ARMS, False) and not server.shown and grade.usd == 0


@pytest.mark.parametrize("reply", ['{"A": true}', "A is right, the others are not.", '{"A":1,"B":0,"C":1,"D":0}', ""])
def test_a_reply_without_every_mark_is_asked_for_once_more_and_then_an_error(reply: str, tmp_path: Path) -> None:
    with marked(lambda fields: reply, tmp_path, "one", "two", "three", "four") as (grade, server):
        assert grade.right is None and grade.error and len(server.shown) == grading.TRIES


def test_marks_are_read_after_thoughts_and_within_a_fence() -> None:
    text = '<think>{"A": false}</think>\n```json\n{"A": true, "B": false}\n```'
    assert grading.parse(Reply(text, "stop", None, None), 2) == {"A": True, "B": False}
    with pytest.raises(MalformedReply, match="refused"):
        grading.parse(Reply("", "refused", "not this", None), 1)
