"""
Answers that were generated once and are never generated again: one append-only file per model.

A line is written as soon as its batch is done, so a kill loses the batch in flight; a line that a kill
cut short is passed over. The file's name tells the model, so a line's key is the rest of what decides an
answer: the engine's version, the conversation and the limit.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from understudy.records import Completion

Conversation = list[dict[str, str]]
Write = Callable[[list[Conversation]], list[dict[str, Any]]]
"""Conversations of one batch > fields of Completion, in the same order."""


class Kept:
    """What a model said before; nothing is remembered when `file` is None."""

    def __init__(self, file: str | None, settings: Any) -> None:
        self.file, self.settings = Path(file) if file else None, settings
        self.known = dict(self._lines()) if self.file and self.file.exists() else {}

    def key(self, conversation: Conversation) -> str:
        """What decides the answer to `conversation`."""
        text = json.dumps([self.settings, conversation], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def add(self, conversations: Sequence[Conversation], answers: Sequence[dict[str, Any]]) -> None:
        """Keep the answers of one batch."""
        new = {self.key(asked): said for asked, said in zip(conversations, answers, strict=True)}
        self.known |= new
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps({"key": key, "answer": said}) + "\n" for key, said in new.items())
            with self.file.open("ab") as opened:
                # The line break in front ends a line that a kill cut short.
                opened.write(b"\n" + lines.encode())

    def _lines(self) -> list[tuple[str, dict[str, Any]]]:
        assert self.file
        found = []
        for line in self.file.read_bytes().splitlines():
            try:
                row = json.loads(line)
                found.append((row["key"], Completion.model_validate(row["answer"]).model_dump()))
            except (ValueError, KeyError, TypeError, ValidationError):
                continue
        return found


def answers(
    kept: Kept, asked: Sequence[Conversation], batch_rows: int, write: Write, finished: Callable[[int], None]
) -> list[dict[str, Any]]:
    """One answer per conversation, in order: those that are kept, and the others from `write`, batch by batch."""
    due = list({kept.key(one): one for one in asked if kept.key(one) not in kept.known}.values())
    due.sort(key=lambda conversation: sum(len(message["content"]) for message in conversation))  # little padding
    done = len(asked) - len(due)
    for start in range(0, len(due), batch_rows):
        batch = due[start : start + batch_rows]
        kept.add(batch, write(batch))
        done += len(batch)
        finished(done)
    return [kept.known[kept.key(one)] for one in asked]
