"""
Questions over two documents, and questions that documents do not answer: asked of the teacher by number, one call each.

The reply's form, the cap and the ledger are those of the two passes.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.calls import Call, Reply, prompting
from understudy.calls.entries import written
from understudy.calls.likeness import Asked, names
from understudy.calls.model_teacher import ModelTeacher
from understudy.calls.prompting import Prompt
from understudy.calls.reply_json import entries as json_entries
from understudy.calls.verifying import Flag, Talk
from understudy.errors import TeacherError
from understudy.records import Document, Pair, Paragraph, Passage
from understudy.text.standalone import standalone_problem

log = logging.getLogger("understudy.teacher")

KIND, CHECK = "compose", "unanswered"
Task = Literal["COMPARE", "UNANSWERED"]
SIZES: Mapping[Task, tuple[int, int]] = {"COMPARE": (140, 400), "UNANSWERED": (80, 250)}
"""Of one entry, in tokens: usual and at most."""
PER_CHECK = 12
"""Questions with their passages in one call."""
CHECK_TOKENS, CHECK_CAP = 60, 200
CHECK_SCHEMA = prompting.items_schema(
    question_number=prompting.INTEGER,
    question=prompting.STRING,
    evidence_quote=prompting.STRING,
    answered=prompting.BOOLEAN,
)


class Wish(NamedTuple):
    """One entry to be written, under a number that is unique in its call. `nth` counts those alike, from 1."""

    number: int
    task: Task
    nth: int


class Written(NamedTuple):
    """(question, answer) by number; how many others did not come or were none, by reason; what the replies cost."""

    pairs: dict[int, tuple[str, str]]
    dropped: Counter[str]
    usd: float


def wishes(compare: int, unanswered: int) -> list[Wish]:
    """So many entries of each task, numbered from 1."""
    tasks: list[tuple[Task, int]] = [("COMPARE", nth) for nth in range(1, compare + 1)]
    tasks += [("UNANSWERED", nth) for nth in range(1, unanswered + 1)]
    return [Wish(number, task, nth) for number, (task, nth) in enumerate(tasks, 1)]


def together(documents: Sequence[Document]) -> Document:
    """Several documents as one, each announced by its title."""
    if len(documents) == 1:
        return documents[0]
    paragraphs: list[Paragraph] = []
    for document in documents:
        title = " ".join(document.title.split())
        paragraphs += [Paragraph(text=f"The text “{title}” begins here."), *document.paragraphs]
    return documents[0].model_copy(
        update={
            "document_id": "+".join(document.document_id for document in documents),
            "title": " / ".join(" ".join(document.title.split()) for document in documents),
            "paragraphs": paragraphs,
            "headings": [],
            "section": None,
        }
    )


def write(teacher: ModelTeacher, document: Document, wishes: Sequence[Wish]) -> Written:
    """The entries of `wishes` about one document, or several as one.

    Raises TeacherError for these documents alone, TeacherStopped for all; what came before is kept.
    """
    by_number = {wish.number: wish for wish in wishes}
    passages = [paragraph.text for paragraph in document.paragraphs]
    texts, missing, usd = written(
        teacher,
        document.document_id,
        {wish.number: _key(teacher, document, wish) for wish in wishes},
        lambda numbers: call_for(teacher, document, [by_number[number] for number in numbers]),
        lambda numbers: Asked(dict.fromkeys(numbers, ""), passages=passages, gaps=True),
    )
    dropped = Counter[str]()
    pairs: dict[int, tuple[str, str]] = {}
    for wish in wishes:
        entry = read(texts[wish.number]) if wish.number in texts else missing[wish.number]
        if isinstance(entry, str):
            dropped[f"{wish.task.lower()}: {entry}"] += 1
        else:
            pairs[wish.number] = entry
    return Written(pairs, dropped, usd)


def call_for(teacher: ModelTeacher, document: Document, wishes: Sequence[Wish]) -> Call:
    """The one call that asks for all of `wishes`."""
    tasks = "\n".join(f"{wish.number}. {wish.task} {wish.nth}" for wish in wishes)
    messages = prompting.messages(KIND, document, {"tasks": tasks}, teacher.prompts)
    prompt = Prompt(messages, tuple(wish.number for wish in wishes))
    usual = sum(SIZES[wish.task][0] for wish in wishes)
    most = sum(SIZES[wish.task][1] for wish in wishes)
    return teacher.new_call(KIND, document.document_id, prompt.messages, prompting.SCHEMA, usual, most, prompt.numbers)


def read(text: str) -> tuple[str, str] | str:
    """(question, answer) of an entry, or the reason why it is none."""
    question, _, answer = text.strip().partition("\n")
    question, answer = question.strip("*_ \t\r"), answer.strip()
    if not question or not answer:
        return "malformed"
    return standalone_problem(question) or (question, answer)


class Checked(NamedTuple):
    """What a second model says of refusals."""

    answered: set[int]
    """Numbers of questions that their passages do answer, by a quote that is in them."""
    unsure: set[int]
    """Numbers without a verdict."""
    usd: float


class _Entry(BaseModel):
    """One entry of a reply."""

    model_config = ConfigDict(extra="ignore")
    question_number: int
    question: str | None = None
    evidence_quote: str | None = None
    answered: Flag


def check(verifier: ModelTeacher, refusals: Mapping[int, tuple[Pair, Sequence[Passage]]]) -> Checked:
    """Which of the questions, by number, their passages answer after all. Raises TeacherStopped."""
    answered, sure, usd = set[int](), set[int](), 0.0
    numbers = list(refusals)
    for start in range(0, len(numbers), PER_CHECK):
        batch = {number: refusals[number] for number in numbers[start : start + PER_CHECK]}
        try:
            reply = verifier.send(_check_call(verifier, batch))
        except TeacherError as error:
            log.warning("%d refusals have no second opinion: %s", len(batch), error)
            continue
        usd += verifier.cost_usd(reply)
        for entry in _entries(reply, {number: pair.question for number, (pair, _) in batch.items()}):
            sure.add(entry.question_number)
            passages = batch[entry.question_number][1]
            if entry.answered and _has(passages, entry.evidence_quote or ""):
                answered.add(entry.question_number)
    return Checked(answered, set(numbers) - sure, usd)


def _check_call(verifier: ModelTeacher, batch: Mapping[int, tuple[Pair, Sequence[Passage]]]) -> Call:
    lines = [
        prompting.json_line(
            {"question_number": number, "question": pair.question, "passages": [p.text for p in passages]}
        )
        for number, (pair, passages) in batch.items()
    ]
    text = "\n".join(lines)
    values = {"items": text, "nonce": hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]}
    prompt = prompting.alone(CHECK, values, verifier.prompts)
    first = next(iter(batch.values()))[0].document_id
    count = len(batch)
    return verifier.new_call(
        CHECK, first, prompt, CHECK_SCHEMA, count * CHECK_TOKENS, count * CHECK_CAP, tuple(sorted(batch))
    )


def _entries(reply: Reply, questions: Mapping[int, str]) -> list[_Entry]:
    """The whole entries that name the question they judge."""
    found = []
    for raw in json_entries(reply.text, Counter()):
        try:
            entry = _Entry.model_validate(raw)
        except ValidationError:
            continue
        if entry.question_number in questions and names(entry.question, entry.question_number, questions) is not False:
            found.append(entry)
    return found


def _has(passages: Sequence[Passage], quote: str) -> bool:
    """Whether the quote is in one of the passages; without a quote nothing is shown."""
    text = Document(
        document_id="passages",
        title="",
        locator="",
        how="",
        paragraphs=[Paragraph(text=passage.text) for passage in passages],
    )
    return Talk(text).has(quote)


def _key(teacher: ModelTeacher, document: Document, wish: Wish) -> str:
    """What decides one entry."""
    prompt = prompting.identity(KIND, teacher.prompts)
    parts = [KIND, teacher.label, teacher._settings(), prompt, document.text, wish.task, wish.nth]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
