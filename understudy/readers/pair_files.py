"""
Questions and answers that people have: CSV, and JSON in the forms that chat models are tuned with.

A row is a chat (`messages`, or ShareGPT's `conversations`), Alpaca's instruction with its input and output, or two
fields by one of the names below. Of a chat the first question and its answer count: what is asked after that cannot be
understood by itself.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import Refused
from understudy.readers.decoding import decode

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
LIMIT_BYTES = 200 * 1024 * 1024
QUESTIONS = ("question", "prompt", "instruction", "query", "user", "input")
ANSWERS = ("answer", "response", "completion", "output", "assistant", "chosen")
GROUPS = ("talk", "document", "document_id", "title", "chapter", "source", "topic")
BETWEEN = "\n"
"""Ends the question in a paragraph of a talk made of pairs, where the answer follows."""
_ASKS, _REPLIES = ("user", "human"), ("assistant", "gpt", "model")


class Row(NamedTuple):
    """A question with its answer, and what it belongs to, where the file says that."""

    question: str
    answer: str
    group: str | None


class PairFile(NamedTuple):
    """The rows that can be used, and how many cannot, by reason."""

    rows: list[Row]
    left_out: dict[str, int]


def read(file: Path, group: str | None = None) -> PairFile:
    """All pairs of a file; `group` is the field that says which talk a row belongs to. Raises Refused."""
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise Refused(f"files of type {file.suffix or 'without ending'} hold no pairs; use {', '.join(SUFFIXES)}")
    if file.stat().st_size > LIMIT_BYTES:
        raise Refused(f"larger than {LIMIT_BYTES // 1024 // 1024} MB")
    text = decode(file.read_bytes(), declared=False)
    rows, left_out = list[Row](), Counter[str]()
    for fields in _table(text, suffix) if suffix in (".csv", ".tsv") else _objects(text, suffix):
        row = _row(fields, group, left_out) if isinstance(fields, Mapping) else None
        if fields is None or not isinstance(fields, Mapping):
            left_out["no JSON object"] += 1
        elif row:
            rows.append(row)
    if not rows:
        raise Refused(
            "no question with an answer is in it; a row has the fields question and answer, prompt and completion, "
            "instruction and output, or messages"
        )
    return PairFile(rows, dict(left_out))


def _table(text: str, suffix: str) -> Iterator[Mapping[str, Any]]:
    head = text.partition("\n")[0]
    mark = "\t" if suffix == ".tsv" else max(",;\t", key=head.count)
    for row in csv.DictReader(io.StringIO(text), delimiter=mark):
        yield {name.strip().lower(): value for name, value in row.items() if isinstance(name, str)}


def _objects(text: str, suffix: str) -> Iterator[Any]:
    """The rows of JSON Lines, or of one list; None for a line that cannot be read."""
    if suffix == ".json" or text.lstrip().startswith("["):
        try:
            whole = json.loads(text)
        except ValueError as error:
            raise Refused(f"it cannot be read as JSON: {error}") from None
        yield from whole if isinstance(whole, list) else [whole]
        return
    for line in filter(str.strip, text.splitlines()):
        try:
            yield json.loads(line)
        except ValueError:
            yield None


def _row(fields: Mapping[str, Any], group: str | None, left_out: Counter[str]) -> Row | None:
    turns = fields.get("messages") or fields.get("conversations")
    question, answer = _chat(turns, left_out) if isinstance(turns, list) else _named(fields)
    if not question or not answer:
        left_out["no question" if not question else "no answer"] += 1
        return None
    own = group or next((name for name in GROUPS if _text(fields.get(name))), None)
    return Row(" ".join(question.split()), answer, _text(fields.get(own)) if own else None)


def _named(fields: Mapping[str, Any]) -> tuple[str, str]:
    question, asked = next(((_text(fields[n]), n) for n in QUESTIONS if _text(fields.get(n))), ("", ""))
    given = _text(fields.get("input")) if asked == "instruction" else ""
    answer = next((_text(fields[name]) for name in ANSWERS if _text(fields.get(name))), "")
    return f"{question} {given}".strip(), answer


def _chat(turns: list[Any], left_out: Counter[str]) -> tuple[str, str]:
    said = [(str(turn.get("role") or turn.get("from")), _text(turn.get("content", turn.get("value"))))
            for turn in turns if isinstance(turn, Mapping)]  # fmt: skip
    if any(role == "system" for role, _ in said):
        left_out["system text, not used"] += 1
    chat = [(role in _ASKS, text) for role, text in said if role in (*_ASKS, *_REPLIES)]
    if len(chat) < 2 or not chat[0][0] or chat[1][0]:
        return chat[0][1] if chat and chat[0][0] else "", ""
    if len(chat) > 2:
        left_out["later turns of a chat"] += (len(chat) - 2) // 2
    return chat[0][1], chat[1][1]


def _text(value: Any) -> str:
    """A field's words; parts of a message joined."""
    if isinstance(value, list):
        value = "\n\n".join(str(part.get("text", "")) for part in value if isinstance(part, Mapping))
    return value.strip() if isinstance(value, str) else ""
