"""
What people decided about single pairs, in data/<channel>/decisions.jsonl.

A line is only ever added, and the last one wins. A decision is about a question of a talk, not about
a number: it holds through every run that asks the question again, and waits in the file while none does.
"""

import logging
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from filelock import lock_descriptor
from pydantic import Field, ValidationError, model_validator

from understudy import store
from understudy.errors import AssetError
from understudy.records import Pair, Record, sha256_of
from understudy.store import fingerprint

log = logging.getLogger("understudy.channel.decisions")

FILE = "decisions.jsonl"
GATE = "human"
"""The name under which a rejected pair is refused."""


class Key(NamedTuple):
    """What a decision is about: a question of a talk, however often and under any number it is asked again."""

    document_id: str
    question_sha256: str


class Decision(Record):
    """One line of the file: what a person decided about one pair, and when."""

    document_id: str
    question_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the question as the teacher put it")
    about: str = Field(description="the question as it read then, for people who read the file")
    action: Literal["reject", "restore", "edit"]
    question: str | None = Field(default=None, description="the edited question; only of an edit")
    answer: str | None = Field(default=None, description="the edited answer, markdown; only of an edit")
    reason: str | None = Field(default=None, description="why it is rejected; only of a reject")
    decided_at: str = Field(description="UTC time, ISO 8601")

    @model_validator(mode="after")
    def _whole(self) -> "Decision":
        texts = [self.question, self.answer]
        if self.action == "reject" and not (self.reason or "").strip():
            raise ValueError("a reject needs a reason")
        if self.action == "edit" and not all((text or "").strip() for text in texts):
            raise ValueError("an edit needs a question and an answer that are not empty")
        if (self.action != "edit" and any(texts)) or (self.action != "reject" and self.reason):
            raise ValueError(f"question and answer belong to an edit, a reason to a reject, not to {self.action!r}")
        return self

    @property
    def key(self) -> Key:
        """The question it is about."""
        return Key(self.document_id, self.question_sha256)


@dataclass(frozen=True)
class Standing:
    """What holds for one question after all its decisions: a later verdict leaves an edited text as it is."""

    kept: bool
    reason: str | None = None
    question: str | None = None
    """The edited question, None where the teacher's stands; so with `answer`."""
    answer: str | None = None

    def after(self, decision: Decision) -> "Standing":
        """What holds once `decision` is taken as well."""
        if decision.action == "edit":
            return Standing(True, None, decision.question, decision.answer)
        return replace(self, kept=decision.action == "restore", reason=decision.reason)


class Decisions:
    """All decisions of a channel, folded to what holds now."""

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self.standing: dict[Key, Standing] = {}
        # An edited question is known under its new words too: pairs that were applied once are found again.
        self._first_words: dict[Key, Key] = {}
        self._refusals: set[Key] = set()
        for decision in decisions:
            self.add(decision)

    def add(self, decision: Decision) -> None:
        """Take one decision more; it wins over earlier ones about the same question."""
        key = decision.key
        self.standing[key] = self.standing.get(key, Standing(True)).after(decision)
        if key == key_of(key.document_id, _as_refusal(decision.about)):
            self._refusals.add(key)
        if decision.question is not None:
            words = _as_refusal(decision.question) if key in self._refusals else decision.question
            self._first_words[key_of(key.document_id, words)] = key

    def key(self, pair: Pair) -> Key:
        """The question `pair` stands for: of one whose question was edited, the teacher's own."""
        # A question may also stand with passages that do not answer it: that is a pair of its own.
        own = key_of(pair.document_id, _as_refusal(pair.question) if pair.kind == "refusal" else pair.question)
        return own if own in self.standing else self._first_words.get(own, own)

    def apply(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The same pairs as people want them, whatever the gates said. Applied twice it changes nothing more."""
        return [self._applied(pair) for pair in pairs]

    def waiting(self, pairs: Iterable[Pair]) -> int:
        """How many questions with a decision are not among `pairs`; they stay in the file."""
        return len(self.standing.keys() - {self.key(pair) for pair in pairs})

    @property
    def fingerprint(self) -> str | None:
        """A digest of what holds, not of when or how often it was decided; None without any decision."""
        rows = [[*key, s.kept, s.reason, s.question, s.answer] for key, s in sorted(self.standing.items())]
        return fingerprint(rows) if rows else None

    def _applied(self, pair: Pair) -> Pair:
        stands = self.standing.get(self.key(pair))
        if stands is None:
            return pair
        verdict = {"kept": stands.kept, "gate": None if stands.kept else GATE, "reason": stands.reason}
        texts = {"question": stands.question or pair.question, "answer": stands.answer or pair.answer}
        return pair.model_copy(update=verdict | texts)


def _as_refusal(question: str) -> str:
    return f"{question} (refusal)"


def key_of(document_id: str, question: str) -> Key:
    """What decisions about `question` of a talk are kept under. Case, white space and Unicode form do not count."""
    plain = " ".join(unicodedata.normalize("NFKC", question).casefold().split())
    return Key(document_id, sha256_of(plain.encode()))


def load(folder: Path) -> Decisions:
    """The decisions kept in `folder` (the channel's). Raises AssetError for a line that is none.

    A last line cut off by a crash was never confirmed; it is left out with a warning in the log.
    """
    file = folder / FILE
    lines = file.read_bytes().split(b"\n") if file.exists() else [b""]
    if lines.pop().strip():
        log.warning("%s ends in half a line, which is left out", file)
    return Decisions(_parsed(file, at, line) for at, line in enumerate(lines, 1) if line.strip())


def append(folder: Path, decision: Decision) -> None:
    """Add one decision to the file in `folder`; it is on disk when this returns."""
    data = decision.model_dump_json(exclude_none=True).encode() + b"\n"
    file = folder / FILE
    new = not file.exists()
    with file.open("a+b") as opened:
        lock_descriptor(opened.fileno())
        _drop_half_line(opened)
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    if new:
        _sync_name(folder)


def forget(folder: Path, document_ids: Iterable[str]) -> None:
    """Drop every decision about these talks, edited texts included."""
    file, ids = folder / FILE, set(document_ids)
    if not file.exists():
        return
    lines = file.read_bytes().splitlines(keepends=True)
    remaining = [line for at, line in enumerate(lines, 1) if _parsed(file, at, line).document_id not in ids]
    if remaining != lines:
        store.replace(file, b"".join(remaining))


def _parsed(file: Path, at: int, line: bytes) -> Decision:
    try:
        return Decision.model_validate_json(line)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise AssetError(f"line {at} of {file} is no decision ({why}); correct that line or delete it") from error


def _drop_half_line(opened: BinaryIO) -> None:
    """Cut what a crash left after the last line break: the next line must begin at its own."""
    opened.seek(0)
    data = opened.read()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        opened.truncate(whole)


def _sync_name(folder: Path) -> None:
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
