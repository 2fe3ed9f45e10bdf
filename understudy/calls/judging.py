"""
A model that compares two answers blind: what it is asked, and what of its reply counts.

Every question is asked twice, with the answers in both orders. Two verdicts that differ are a tie: a judge that
takes what stands first finds nothing but ties. A reply that is no verdict is an error, never a tie.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from understudy.calls import Call, Reply, model_family, prompting
from understudy.calls.model_teacher import ModelTeacher
from understudy.errors import MalformedReply, TeacherError
from understudy.records import Judgement, Winner
from understudy.text.words import one_line

KIND = "judge"
VERDICT_TOKENS, VERDICT_CAP = 25, 40
TRIES = 2

_CHOICE = {"type": "string", "enum": ["A", "B", "tie"]}
SCHEMA = prompting.object_schema(
    a_contradicts=prompting.BOOLEAN, b_contradicts=prompting.BOOLEAN, voice=_CHOICE, answer=_CHOICE
)
_OBJECT = re.compile(r"\{[^{}]*\}")
_THOUGHTS = re.compile(r"\A[\s\S]*</think>")

Slot = Literal["A", "B", "tie"]


class Question(NamedTuple):
    """One held-out question with what both candidates said to it."""

    pair_id: str
    document_id: str
    question: str
    reference: str
    """The teacher's own answer to it."""
    sample: str
    """The teacher's answer to another question, from the train split."""
    tuned: str
    base: str


class Verdict(BaseModel):
    """One verdict on one order. Only the three words count, and only a real true or false."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    a_contradicts: StrictBool
    b_contradicts: StrictBool
    voice: Slot
    answer: Slot


class _Answer(NamedTuple):
    verdict: Verdict
    usd: float


def ask(judge: ModelTeacher, question: Question) -> Judgement:
    """The verdict of both orders. Blocks; for any thread. Raises TeacherStopped.

    Two answers that are the same words are a tie without a call. A reply that is no verdict is asked
    for once more; then the question has an error instead of a verdict.
    """
    fields = {"pair_id": question.pair_id, "document_id": question.document_id, "length_ratio": _ratio(question)}
    if question.tuned.split() == question.base.split():
        return Judgement(**fields, voice="tie", answer="tie", consistent=True)
    orders: tuple[tuple[Winner, Winner], ...] = (("tuned", "base"), ("base", "tuned"))
    replies: list[_Answer] = []
    for order in orders:
        try:
            replies.append(_ask_once(judge, question, order))
        except TeacherError as error:
            return Judgement(**fields, voice=None, error=one_line(str(error), 200), usd=sum(h.usd for h in replies))
    return _combined(fields, orders, replies)


def call_for(judge: ModelTeacher, question: Question, order: tuple[Winner, Winner]) -> Call:
    """The call that shows both answers in `order`, the first as A; nothing in it shows whose they are."""
    texts = {"tuned": question.tuned, "base": question.base}
    parts = {"question": question.question, "reference": question.reference, "sample": question.sample}
    parts |= {"A": texts[order[0]], "B": texts[order[1]]}
    user = "\n".join(prompting.json_line({name: text}) for name, text in parts.items())
    messages = ({"role": "system", "content": _prompt(judge.prompts)}, {"role": "user", "content": user})
    return judge.new_call(KIND, question.document_id, messages, SCHEMA, VERDICT_TOKENS, VERDICT_CAP)


def parse(reply: Reply) -> Verdict:
    """The one verdict in `reply`. Raises MalformedReply for prose, for none, and for two that differ."""
    if reply.finish == "refused":
        raise MalformedReply(f"the judge refused: {(reply.refusal or reply.text).strip() or 'it gave no reason'}")
    verdicts = set()
    for match in _OBJECT.finditer(_THOUGHTS.sub("", reply.text)):
        try:
            verdicts.add(Verdict.model_validate_json(match.group()))
        except ValidationError:
            continue
    if len(verdicts) != 1:
        what = "no verdict" if not verdicts else "two verdicts"
        raise MalformedReply(f"the judge gave {what}: {one_line(reply.text, 120) or 'an empty reply'!r}")
    return verdicts.pop()


def family(label: str) -> str:
    """Who made the model with this label, as far as its name shows."""
    return " and ".join(sorted(model_family.families(label))) or "unknown"


def warning(teacher: str, judge: str) -> str | None:
    """What to know when teacher and judge are of one family; None when they are not, or it is not known."""
    if (shared := model_family.shared(teacher, judge)) is None:
        return None
    return (
        f"{teacher} wrote what the tuned model learned from, and {judge} judges: {shared}. A model prefers words like "
        "its own, so the wins run high; take a judge of another family where you can"
    )


def problems(judge: object) -> list[str]:
    """What makes a teacher plugin unusable as a judge, one sentence each."""
    return model_family.problems(judge, "evaluate.judge")


def _ask_once(judge: ModelTeacher, question: Question, order: tuple[Winner, Winner]) -> _Answer:
    """The verdict on one order, asked for again while it is none. Raises TeacherError, TeacherStopped."""
    call = call_for(judge, question, order)
    usd = 0.0
    for round in range(TRIES):
        reply = judge.send(call, round, _usable)
        usd += judge.cost_usd(reply)
        try:
            return _Answer(parse(reply), usd)
        except MalformedReply as error:
            last = error
    raise last


def _usable(reply: Reply) -> bool:
    try:
        parse(reply)
    except MalformedReply:
        return False
    return True


def _combined(
    fields: Mapping[str, Any], orders: tuple[tuple[Winner, Winner], ...], replies: list[_Answer]
) -> Judgement:
    voices = [_winner(h.verdict.voice, order) for h, order in zip(replies, orders, strict=True)]
    answers = [_winner(h.verdict.answer, order) for h, order in zip(replies, orders, strict=True)]
    against = [
        {whose for whose, flag in zip(order, (h.verdict.a_contradicts, h.verdict.b_contradicts), strict=True) if flag}
        for h, order in zip(replies, orders, strict=True)
    ]
    return Judgement(
        **fields,
        voice=voices[0] if voices[0] == voices[1] else "tie",
        answer=answers[0] if answers[0] == answers[1] else "tie",
        consistent=voices[0] == voices[1],
        first_slot=sum(h.verdict.voice == "A" for h in replies),
        decided=sum(h.verdict.voice != "tie" for h in replies),
        contradicts=sorted(against[0] & against[1]),
        usd=sum(h.usd for h in replies),
    )


def _winner(slot: Slot, order: tuple[Winner, Winner]) -> Winner:
    return "tie" if slot == "tie" else order[slot == "B"]


def _ratio(question: Question) -> float:
    return (len(question.tuned.split()) + 1) / (len(question.base.split()) + 1)


def _prompt(prompts: prompting.Prompts) -> str:
    return prompting._texts(("judge",), prompts)["judge"]
