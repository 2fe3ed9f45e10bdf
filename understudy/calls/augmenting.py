"""
More ways to say what a talk's pairs say, written by the teacher: one call per talk, its entries by number.

The system text, the talk and the schema are those of the two passes, so a provider's cache finds them.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from understudy.calls import Call, prompting
from understudy.calls.entries import Entries, written
from understudy.calls.likeness import Asked
from understudy.calls.model_teacher import ModelTeacher
from understudy.calls.prompting import BUILT_IN, Prompt, Prompts
from understudy.calls.verifying import drawn
from understudy.records import Document, Pair, VariantKind, sha256_of
from understudy.sections import AugmentSettings
from understudy.text import questions
from understudy.text.language import FUNCTION_WORDS
from understudy.text.similarity import stem
from understudy.text.standalone import standalone_problem
from understudy.text.words import word_count, words

log = logging.getLogger("understudy.teacher")

KIND = "augment"
NOTHING_MORE = "NONE"
MOST_TITLES = 200
SHORTENED_FROM, LENGTHENED_TO = 60, 350  # words: a shorter answer is not shortened, a longer one not lengthened
PARTED_FROM = 80  # words: a shorter answer has no parts worth a question
MOST_OF_PART, SHARED_OF_PART = 0.8, 0.6  # of the words of the whole answer; of its own words that the whole one has
QUESTIONS: frozenset[VariantKind] = frozenset({"paraphrase", "formal", "casual"})
"""Kinds that ask otherwise and keep the answer."""
FROM_ANSWERS: frozenset[VariantKind] = frozenset({"short", "long", "part"})
"""Kinds that are written from an answer."""
MOST_OF_SHORT, LEAST_OF_LONG = 0.75, 1.2  # of the words of the answer it is made from
MOST_REFUSAL_WORDS = 80
# Of one entry, in tokens: usual and at most; a long answer takes what the teacher gives any answer.
_SIZES: Mapping[VariantKind, tuple[int, int | None]] = {
    "paraphrase": (30, 120), "formal": (40, 120), "casual": (30, 120), "short": (110, 400), "long": (420, None),
    "part": (140, 400), "out_of_scope": (90, 300),
}  # fmt: skip
_COMMANDS: Mapping[VariantKind, str] = {
    "paraphrase": "REWORD question {question}, way {nth}",
    "formal": "REWORD FORMALLY question {question}",
    "casual": "REWORD CASUALLY question {question}",
    "short": "SHORTEN answer {question}",
    "long": "LENGTHEN answer {question}",
    "part": "TAKE A PART of answer {question}",
    "out_of_scope": "UNTOLD {nth}",
}
_AI = re.compile(
    r"\bas an? (?:\w+ ){0,2}(?:ai|model|assistant)\b|\b(?:ai|language) model\b|\bI(?:['’]| a)m an? (?:ai|assistant)\b"
    r"|\bals (?:eine? )?(?:ki|sprachmodell)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GRAMMAR = frozenset(stem(word) for listed in FUNCTION_WORDS.values() for word in listed)


class Wish(NamedTuple):
    """One entry to be written, under a number that is unique in its talk. `nth` counts those alike, from 1."""

    number: int
    kind: VariantKind
    nth: int
    pair: Pair | None = None
    """What it is made from; None for 'out_of_scope'."""


def wishes(train: Sequence[Pair], settings: AugmentSettings, seed: int) -> Iterator[Wish]:
    """What is made from the train pairs of one talk, numbered from 1."""
    entries: list[tuple[VariantKind, int, Pair | None]] = []
    for pair in train:
        length = word_count(pair.answer)
        entries += [("paraphrase", nth, pair) for nth in range(1, settings.paraphrases + 1)]
        if drawn(seed, "registers", pair.pair_id) < settings.registers:
            entries += [("formal", 1, pair), ("casual", 1, pair)]
        if length >= PARTED_FROM and drawn(seed, "parts", pair.pair_id) < settings.parts:
            entries.append(("part", 1, pair))
        if length >= SHORTENED_FROM and drawn(seed, "short", pair.pair_id) < settings.short:
            entries.append(("short", 1, pair))
        if length <= LENGTHENED_TO and drawn(seed, "long", pair.pair_id) < settings.long:
            entries.append(("long", 1, pair))
    # A share of a few pairs is less than one: then only some talks get one.
    count = int(settings.out_of_scope * len(train) + drawn(seed, "out_of_scope", train[0].document_id))
    entries += [("out_of_scope", nth, None) for nth in range(1, count + 1)]
    return (Wish(number, kind, nth, pair) for number, (kind, nth, pair) in enumerate(entries, 1))


def write(teacher: ModelTeacher, document: Document, wishes: Sequence[Wish], titles: Sequence[str] = ()) -> Entries:
    """The texts of `wishes` about one talk; `titles` are the channel's talks, for what is out of scope.

    Raises TeacherError for this talk alone, TeacherStopped for all; what came before is kept.
    """
    by_number = {wish.number: wish for wish in wishes}
    return written(
        teacher,
        document.document_id,
        {wish.number: _key(teacher, document, wish) for wish in wishes},
        lambda numbers: call_for(teacher, document, [by_number[number] for number in numbers], titles),
        lambda numbers: _asked(document, [by_number[number] for number in numbers]),
    )


def call_for(teacher: ModelTeacher, document: Document, wishes: Sequence[Wish], titles: Sequence[str] = ()) -> Call:
    """The one call that asks for all of `wishes`."""
    prompt = compose(document, wishes, titles, teacher.prompts)
    usual = sum(_SIZES[wish.kind][0] for wish in wishes)
    most = sum(_SIZES[wish.kind][1] or teacher.common.answer_tokens for wish in wishes)
    return teacher.new_call(KIND, document.document_id, prompt.messages, prompting.SCHEMA, usual, most, prompt.numbers)


def compose(
    document: Document, wishes: Sequence[Wish], titles: Sequence[str] = (), prompts: Prompts = BUILT_IN
) -> Prompt:
    """The messages for `wishes`: the talk as in both passes, then the instruction. Raises ConfigError."""
    nonce = prompting._talk_values(document)["nonce"]
    untold = any(wish.kind == "out_of_scope" for wish in wishes)
    values = {
        "nonce": nonce,
        "titles": "\n".join(f"- {' '.join(title.split())}" for title in titles[:MOST_TITLES] if untold) or "(none)",
        "pairs": _pairs(wishes, nonce) or "(none)",
        "tasks": "\n".join(_task(wish) for wish in wishes),
    }
    return Prompt(prompting.messages(KIND, document, values, prompts), tuple(wish.number for wish in wishes))


def read(wish: Wish, text: str, first: Pair, talks: Sequence[frozenset[str]]) -> Pair | str:
    """The entry as a pair, with a tilde in its id; or the reason why it is not what was requested.

    `first` is any pair of the talk, for where it comes from; `talks` are the words of substance of every talk of the
    channel, for what is out of scope.
    """
    if wish.pair is None:
        return _refusal(wish, text, first, talks)
    if text.strip("*. ") == NOTHING_MORE:
        return "the talk says no more"
    name = f"{wish.pair.pair_id}~{wish.kind}{wish.nth}"
    if wish.kind == "part":
        return _part(wish.pair, name, text)
    if wish.kind not in QUESTIONS:
        share = word_count(text) / max(1, word_count(wish.pair.answer))
        fits = share <= MOST_OF_SHORT if wish.kind == "short" else share >= LEAST_OF_LONG
        return wish.pair.model_copy(update={"pair_id": name, "answer": text}) if fits else f"not {wish.kind}er"
    question = text.strip("*_ ")
    if wrong := "malformed" if "\n" in question else standalone_problem(question):
        return wrong
    if sorted(_NUMBER.findall(question)) != sorted(_NUMBER.findall(wish.pair.question)):
        return "other numbers"
    one, other = questions.read([wish.pair.question, question])
    if one.denials != other.denials:
        return "turned round"
    if not substance(question) & substance(f"{wish.pair.question} {wish.pair.answer}"):
        return "another question"
    return wish.pair.model_copy(update={"pair_id": name, "question": question})


def _part(pair: Pair, name: str, text: str) -> Pair | str:
    """A question about one part of an answer: what it is answered with is said there, in about the same words."""
    if isinstance(turns := _turns(text), str):
        return turns
    question, answer = turns
    if word_count(answer) > MOST_OF_PART * word_count(pair.answer):
        return "not a part"
    if not set(_NUMBER.findall(answer)) <= set(_NUMBER.findall(f"{pair.question} {pair.answer}")):
        return "other numbers"
    own = substance(answer)
    if len(own & substance(f"{pair.question} {pair.answer}")) < SHARED_OF_PART * len(own):
        return "not said in the answer"
    return pair.model_copy(update={"pair_id": name, "question": question, "answer": answer})


def _refusal(wish: Wish, text: str, first: Pair, talks: Sequence[frozenset[str]]) -> Pair | str:
    if isinstance(turns := _turns(text), str):
        return turns
    question, reply = turns
    if _AI.search(reply):
        return "speaks of an AI"
    # A figure, or more than a few sentences, is an answer after all.
    if _NUMBER.search(reply) or word_count(reply) > MOST_REFUSAL_WORDS:
        return "not a refusal"
    stems = substance(question)
    if any(stems <= fields for fields in talks):
        return "a talk may answer it"
    name = f"{first.document_id}~{wish.kind}{wish.nth}"
    fields = {"pair_id": name, "question": question, "answer": reply, "tags": []}
    return first.model_copy(update=fields | {"start_seconds": None, "end_seconds": None})


def _turns(text: str) -> tuple[str, str] | str:
    """The question on the first line and the answer below it; or what is wrong with them."""
    question, _, answer = text.partition("\n")
    question, answer = question.strip("*_ \t\r"), answer.strip()
    return (standalone_problem(question) or (question, answer)) if answer else "malformed"


def substance(text: str) -> frozenset[str]:
    """The stems of the words of `text` that do not only carry the grammar."""
    return frozenset(map(stem, words(text))) - _GRAMMAR


def digest(seed: int, name: str) -> str:
    """What decides order and choice: the same for the same seed and name, regardless of all others."""
    return sha256_of(f"{seed}/{name}".encode())


def _asked(document: Document, pending: Sequence[Wish]) -> Asked:
    """What each entry is about: the question of the pair it is made from; a refusal is about none."""
    about = {wish.number: wish.pair.question if wish.pair else "" for wish in pending}
    return Asked(about, passages=[paragraph.text for paragraph in document.paragraphs], gaps=True)


def _key(teacher: ModelTeacher, document: Document, wish: Wish) -> str:
    """What decides one entry. The titles do not: a new talk makes no older entry be paid again."""
    made_from = [wish.pair.question] if wish.pair else []
    if wish.pair and wish.kind in FROM_ANSWERS:
        made_from.append(wish.pair.answer)
    prompt = prompting.identity(KIND, teacher.prompts)
    parts = [KIND, teacher.label, teacher._settings(), prompt, document.text, wish.kind, wish.nth, made_from]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _task(wish: Wish) -> str:
    question = wish.pair.question_number if wish.pair else 0
    return f"{wish.number}. {_COMMANDS[wish.kind].format(question=question, nth=wish.nth)}"


def _pairs(wishes: Sequence[Wish], nonce: str) -> str:
    """Each pair that a task is about, once; its answer only where one is made from it."""
    pairs: dict[int, Pair] = {}
    kinds: Counter[int] = Counter()
    for wish in wishes:
        if wish.pair:
            pairs[wish.pair.question_number] = wish.pair
            kinds[wish.pair.question_number] += wish.kind in FROM_ANSWERS
    return "\n\n".join(
        f"PAIR {number} {nonce}\nQuestion: {' '.join(pair.question.split())}"
        + (f"\nAnswer:\n{pair.answer.strip()}" if kinds[number] else "")
        for number, pair in sorted(pairs.items())
    )
