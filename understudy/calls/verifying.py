"""
A model that checks pairs against their talk: what it is asked, and what of its reply counts.

It never approves by itself. A pair is approved when every criterion holds and the verifier can show
a passage that carries the answer: a quote that is not in the talk makes the pair ungrounded and is
the verifier's own error. What it leaves out, doubles or garbles is no verdict at all.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError

from understudy.calls import Call, Reply, model_family, prompting
from understudy.calls.likeness import names
from understudy.calls.model_teacher import TALK_SHARE, ModelTeacher
from understudy.calls.reply_json import entries as json_entries
from understudy.errors import TeacherError
from understudy.records import Document, Pair, Verification

CRITERIA = ("grounded", "no_hallucination", "complete", "standalone")
VERDICT_TOKENS, VERDICT_CAP = 110, 250  # of one entry of a reply: on average, and at most
INSTRUCTION_TOKENS = 2500  # of system text, instruction and fences, generously
LEAST_QUOTE_BYTES = 20  # about four words; less is found in any talk
ALIKE = 90.0  # rapidfuzz's partial_ratio from which a quote counts as copied from the talk

_PARAGRAPH_NUMBER = re.compile(r"\[[0-9]{1,6}\]")
_NOT_WORD = re.compile(r"[\W_]+")
_ELLIPSIS = re.compile(r"\[?(?:\.\.\.+|…)\]?")


class Checked(NamedTuple):
    """One reply about some pairs, by question number.

    Defects: 'malformed', 'doubled' (one number, two verdicts), 'unasked', 'cut', 'thinking', 'refused'.
    """

    verdicts: dict[int, Verification]
    defects: Counter[str]
    error: str
    """Why the numbers without a verdict have none."""
    usd: float = 0.0


def _truth(value: object) -> object:
    """True or false for their words, which servers write that ignore the schema."""
    return _TRUTH.get(value.strip().lower(), value) if isinstance(value, str) else value


_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
Flag = Annotated[StrictBool, BeforeValidator(_truth)]


class _Entry(BaseModel):
    """One entry of a reply."""

    model_config = ConfigDict(extra="ignore")
    question_number: int
    question: str | None = None
    evidence_quote: str | None
    grounded: Flag
    no_hallucination: Flag
    complete: Flag
    standalone: Flag
    reason: str | None = Field(default=None)


def ask(verifier: ModelTeacher, document: Document, pairs: Sequence[Pair], seed: int, round: int = 0) -> Checked:
    """What `verifier` says of `pairs`, all in one call; `round` counts how often these same pairs were asked before.

    A call that fails for good leaves every number without a verdict. Raises TeacherStopped.
    """
    call = call_for(verifier, document, pairs, seed)
    questions = {pair.question_number: pair.question for pair in pairs}
    try:
        reply = verifier.send(call, round, lambda r: bool(_entries_of(r, questions, Counter())))
    except TeacherError as error:
        return Checked({}, Counter(), str(error))
    return parse(reply, questions, document)._replace(usd=verifier.cost_usd(reply))


def call_for(verifier: ModelTeacher, document: Document, pairs: Sequence[Pair], seed: int) -> Call:
    """The call that asks about `pairs`, in an order that `seed` draws and that the other pairs do not change."""
    lines = [_line(pair) for pair in sorted(pairs, key=lambda pair: drawn(seed, "order", pair.pair_id))]
    text = "\n".join(lines)
    # Digests the whole of both, so that neither who writes a talk nor who writes an answer can know it.
    nonce = hashlib.sha256(f"{document.text}\n{text}".encode(errors="replace")).hexdigest()[:16]
    messages = prompting.messages("verify", document, {"pairs": text, "nonce": nonce}, verifier.prompts)
    usual, most = len(pairs) * VERDICT_TOKENS, len(pairs) * VERDICT_CAP
    numbers = tuple(sorted(pair.question_number for pair in pairs))
    return verifier.new_call("verify", document.document_id, messages, prompting.VERDICT_SCHEMA, usual, most, numbers)


def batches(verifier: ModelTeacher, document: Document, pairs: Sequence[Pair]) -> list[list[Pair]]:
    """All pairs as one call, or as few calls as leave room for talk, pairs and reply in the verifier's window."""
    window = verifier.window()
    if window is None or not pairs:
        return [list(pairs)] if pairs else []
    fixed = verifier.tokens(document.text) + INSTRUCTION_TOKENS + verifier.common.thinking_tokens
    room = window / TALK_SHARE - fixed
    batches, space = [list[Pair]()], room
    for pair in pairs:
        needed = verifier.tokens(_line(pair)) + VERDICT_CAP
        if batches[-1] and needed > space:
            batches.append([])
            space = room
        batches[-1].append(pair)
        space -= needed
    return batches


def parse(reply: Reply, questions: Mapping[int, str], document: Document) -> Checked:
    """The verdicts in `reply` that can be trusted, on the pairs whose `questions` were shown, by number.

    They are asked for, whole, not given twice with two contents, and name the pair they judge. Where the numbers of a
    reply do not fit, or its questions do not fit the numbers, only those count that name the right question.
    """
    defects: Counter[str] = Counter()
    talk = Talk(document)
    verdicts = {number: _verdict(one, talk) for number, one in _entries_of(reply, questions, defects).items()}
    error = "the verifier gave no usable verdict"
    if reply.finish == "refused":
        defects["refused"] += 1
        error = f"the verifier refused: {(reply.refusal or reply.text).strip() or 'it gave no reason'}"
    elif reply.finish in ("length", "cut") and len(verdicts) < len(questions):
        error = "the verifier's reply was cut before its verdict"
    return Checked(verdicts, defects, error)


class Talk:
    """The words of a talk, to look quotes up in."""

    def __init__(self, document: Document) -> None:
        self._words = _plain(document.text)

    def has(self, quote: str) -> bool:
        """True for passages of the talk, small slips of copying allowed; False for what is too short to tell.

        An ellipsis joins two passages, which both have to be there.
        """
        from rapidfuzz import fuzz

        pieces = [_plain(_PARAGRAPH_NUMBER.sub(" ", piece)) for piece in _ELLIPSIS.split(quote)]
        pieces = [piece for piece in pieces if piece]
        # partial_ratio looks for the shorter in the longer: it would find a short talk in a long invention.
        if not pieces or len("".join(pieces).encode()) < LEAST_QUOTE_BYTES or len("".join(pieces)) > len(self._words):
            return False
        return all(
            piece in self._words
            or (
                len(piece.encode()) >= LEAST_QUOTE_BYTES
                and fuzz.partial_ratio(piece, self._words, score_cutoff=ALIKE) >= ALIKE
            )
            for piece in pieces
        )


def problems(verifier: object) -> list[str]:
    """What makes a teacher plugin unusable as a verifier, one sentence each."""
    return model_family.problems(verifier, "verify")


def drawn(seed: int, what: str, name: str) -> float:
    """A number from 0 up to 1 that `seed` draws for `name`, the same whatever else is drawn."""
    digest = hashlib.sha256(f"{seed}/{what}/{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _line(pair: Pair) -> str:
    fields = {"question_number": pair.question_number, "question": pair.question, "answer": pair.answer}
    return prompting.json_line(fields)


def _entries_of(reply: Reply, questions: Mapping[int, str], defects: Counter[str]) -> dict[int, _Entry]:
    """The whole entries by number; two that differ for one number are none."""
    found: list[_Entry] = []
    for entry in json_entries(reply.text, defects):
        try:
            found.append(_Entry.model_validate(entry))
        except ValidationError:
            defects["malformed"] += 1
    unasked = sum(one.question_number not in questions for one in found)
    defects.update({"unasked": unasked} if unasked else {})
    named = [names(one.question, one.question_number, questions) for one in found]
    slipped = unasked > 0 or False in named
    entries: dict[int, list[_Entry]] = {}
    for at, one in enumerate(found):
        if one.question_number in questions and (named[at] or (named[at] is None and not slipped)):
            entries.setdefault(one.question_number, []).append(one)
        elif one.question_number in questions:
            defects["misplaced"] += 1
    sound = {number: verdicts[0] for number, verdicts in entries.items() if all(one == verdicts[0] for one in verdicts)}
    defects.update({"doubled": doubled} if (doubled := len(entries) - len(sound)) else {})
    return sound


def _verdict(entry: _Entry, talk: Talk) -> Verification:
    quote = (entry.evidence_quote or "").strip()
    in_talk = talk.has(quote)
    grounded = entry.grounded and in_talk
    return Verification(
        question_number=entry.question_number,
        approved=grounded and entry.no_hallucination and entry.complete and entry.standalone,
        evidence_quote=quote,
        grounded=grounded,
        no_hallucination=entry.no_hallucination,
        complete=entry.complete,
        standalone=entry.standalone,
        reason=(entry.reason or "").strip(),
        invented_quote=not in_talk and (entry.grounded or bool(quote)),
    )


def _plain(text: str) -> str:
    """Letters and digits of `text`, one space for all between two words: what copying cannot change."""
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
