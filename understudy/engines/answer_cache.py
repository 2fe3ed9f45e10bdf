"""
Answers that were generated once and are never generated again: one append-only file per model.

A line is written as soon as its batch is done, so a kill loses only the batch in flight; a line that a kill cut short
is skipped. The file's name identifies the model, so a line's key is the rest of what decides an answer: the engine and
its version, the conversation and the limit.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from understudy.records import Completion

Conversation = list[dict[str, str]]
Generate = Callable[[list[Conversation]], list[Completion]]
"""Conversations of one batch > their completions, in the same order."""


class AnswerCache:
    """The completions of one model; without a file they live as long as this object."""

    def __init__(self, file: Path | None, settings: Sequence[str | int]) -> None:
        self.file, self.settings = file, list(settings)
        self.known = dict(self._lines())

    def key(self, conversation: Conversation) -> str:
        """What decides the answer to `conversation`."""
        text = json.dumps([self.settings, conversation], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def complete(
        self, prompts: Sequence[Conversation], batch_rows: int, generate: Generate, finished: Callable[[int], None]
    ) -> list[Completion]:
        """One completion per prompt, in order: the known ones, and the others from `generate`, batch by batch."""
        due = list({self.key(one): one for one in prompts if self.key(one) not in self.known}.values())
        due.sort(key=lambda conversation: sum(len(message["content"]) for message in conversation))  # little padding
        done = len(prompts) - len(due)
        for start in range(0, len(due), batch_rows):
            batch = due[start : start + batch_rows]
            self._add(batch, generate(batch))
            done += len(batch)
            finished(done)
        return [self.known[self.key(one)] for one in prompts]

    def _add(self, batch: Sequence[Conversation], completions: Sequence[Completion]) -> None:
        new = dict(zip(map(self.key, batch), completions, strict=True))
        self.known |= new
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps({"key": key, "answer": answer.model_dump()}) + "\n" for key, answer in new.items())
            with self.file.open("ab") as opened:
                # The line break in front ends a line that a kill cut short.
                opened.write(b"\n" + "".join(lines).encode())

    def _lines(self) -> Iterator[tuple[str, Completion]]:
        for line in self.file.read_bytes().splitlines() if self.file and self.file.exists() else []:
            try:
                row = json.loads(line)
                yield row["key"], Completion.model_validate(row["answer"])
            except (ValueError, KeyError, TypeError, ValidationError):
                continue
