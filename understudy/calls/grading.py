"""
A model that marks answers one by one against the reference: what it is asked, and what of its reply counts.

All answers to a question are shown in one call, in an order that is drawn and without their authors. A reply that does
not mark each of them is an error, never a mark.
"""

import json
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import RootModel, StrictBool, ValidationError

from understudy.calls import Call, Reply, prompting
from understudy.calls.model_teacher import ModelTeacher
from understudy.errors import MalformedReply, TeacherError
from understudy.records import Grade
from understudy.text.words import one_line

KIND = "grade"
MARK_TOKENS = 6  # of one letter with its mark
MARK_CAP = 20
TRIES = 2
LETTERS = "ABCDEFGH"


class Marks(RootModel[dict[str, StrictBool]]):
    """Letter > right by the reference."""


class Question(NamedTuple):
    """One held-out question with what every candidate said to it."""

    pair_id: str
    document_id: str
    question: str
    reference: str
    answers: Mapping[str, str]
    """Candidate > its answer."""


def ask(judge: ModelTeacher, question: Question, seed: int) -> Grade:
    """The marks of every candidate. Blocks; for any thread. Raises TeacherStopped.

    An empty answer is wrong, and the same answer of two candidates is shown once. A reply that is no set of marks is
    asked for once more; then the question has an error in place of marks.
    """
    fields = {"pair_id": question.pair_id, "document_id": question.document_id}
    texts = distinct(question, seed)
    if not texts:
        return Grade(**fields, right=dict.fromkeys(question.answers, False))
    call, usd = call_for(judge, question, texts), 0.0
    letters = dict(zip(texts, LETTERS, strict=False))
    error: TeacherError = MalformedReply("no reply")
    for round in range(TRIES):
        try:
            reply = judge.send(call, round, lambda r: _usable(r, len(texts)))
            usd += judge.cost_usd(reply)
            marks = parse(reply, len(texts))
        except MalformedReply as malformed:
            error = malformed
        except TeacherError as failed:
            error = failed
            break
        else:
            right = {
                name: bool(text.split()) and marks[letters[_plain(text)]] for name, text in question.answers.items()
            }
            return Grade(**fields, right=right, usd=usd)
    return Grade(**fields, right=None, error=one_line(str(error), 200), usd=usd)


def distinct(question: Question, seed: int) -> list[str]:
    """The different answers with words in them, in an order drawn by `seed` and the question."""
    texts = list(dict.fromkeys(_plain(text) for text in question.answers.values() if text.split()))
    random.Random(f"{seed}/{question.pair_id}").shuffle(texts)
    return texts


def call_for(judge: ModelTeacher, question: Question, texts: Sequence[str]) -> Call:
    """The call that shows the question, its reference and `texts`, each under a letter."""
    parts = {"question": question.question, "reference": question.reference} | dict(zip(LETTERS, texts, strict=False))
    user = "\n".join(prompting.json_line({name: text}) for name, text in parts.items())
    (instruction,) = prompting.alone(KIND, {}, judge.prompts)
    messages = ({"role": "system", "content": instruction["content"]}, {"role": "user", "content": user})
    schema = prompting.object_schema(**dict.fromkeys(LETTERS[: len(texts)], prompting.BOOLEAN))
    count = len(texts)
    return judge.new_call(KIND, question.document_id, messages, schema, MARK_TOKENS * count, MARK_CAP * count)


def parse(reply: Reply, count: int) -> dict[str, bool]:
    """The marks of the first `count` letters. Raises MalformedReply for any other reply."""
    if reply.finish == "refused":
        raise MalformedReply(f"the judge refused: {(reply.refusal or reply.text).strip() or 'it gave no reason'}")
    text = reply.text.rpartition("</think>")[2]
    start, end = text.find("{"), text.rfind("}")
    try:
        marks = Marks.model_validate(json.loads(text[start : end + 1])).root
    except (ValueError, ValidationError):
        marks = {}
    if set(marks) != set(LETTERS[:count]):
        raise MalformedReply(f"the judge gave no marks: {one_line(reply.text, 120) or 'an empty reply'!r}")
    return marks


def _plain(text: str) -> str:
    return " ".join(text.split())


def _usable(reply: Reply, count: int) -> bool:
    try:
        parse(reply, count)
    except MalformedReply:
        return False
    return True
