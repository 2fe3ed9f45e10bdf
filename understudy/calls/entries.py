"""
Numbered entries that a teacher writes about a document, each kept in the ledger under an identity of its own.

Neither the number of an entry nor the other entries are part of that identity: another share in the preset pays for
what is new and nothing else.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from understudy.calls import Call, Reply
from understudy.calls.likeness import Asked
from understudy.calls.model_teacher import ModelTeacher
from understudy.calls.replies import parse

log = logging.getLogger("understudy.teacher")

TRIES = 2  # of the same entries; a reply that brought some of them makes it other entries


class Entries(NamedTuple):
    """The texts that came, by number and not yet read; why others did not; what the replies cost."""

    texts: dict[int, str]
    missing: dict[int, str]
    usd: float


def written(
    teacher: ModelTeacher,
    document_id: str,
    keys: Mapping[int, str],
    call_for: Callable[[Sequence[int]], Call],
    about: Callable[[Sequence[int]], Asked],
) -> Entries:
    """The entries of `keys` (number > identity); `call_for` asks for some of them, `about` says what each is about.

    Blocks; for any thread. Entries that did not come are asked for once more, and only they. Raises TeacherError for
    this document alone, TeacherStopped for all; what came before is kept.
    """
    ledger = teacher._ledger
    assert ledger, "begin() comes first"
    stored = ledger.answers(keys.values())
    texts = {number: stored[key] for number, key in keys.items() if key in stored}
    missing: dict[int, str] = {}
    usd, tries = 0.0, 0
    while tries < TRIES and (pending := [number for number in keys if number not in texts]):
        call = call_for(pending)
        # A document that has given something is no sign of a broken teacher, however stubborn the rest is.
        reply = teacher.send(call, tries, None if texts else _usable(call))
        parsed = parse(reply, "answers", call.numbers, about(pending))
        if parsed.defects:
            log.info("%s, %s: %s", document_id, call.kind, dict(parsed.defects))
        new = {item.question_number: item.text for item in parsed.items}
        ledger.keep_answers(document_id, {keys[number]: text for number, text in new.items()})
        usd += teacher.cost_usd(reply)
        texts |= new
        missing |= {number: "refused" for number in parsed.refused}
        tries = 0 if new else tries + 1
    return Entries(texts, {n: missing.get(n, "did not come") for n in keys if n not in texts}, usd)


def _usable(call: Call) -> Callable[[Reply], bool]:
    return lambda reply: bool(parse(reply, "answers", call.numbers).items)
