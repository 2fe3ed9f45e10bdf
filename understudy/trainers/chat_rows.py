"""
Chat rows as tokens, and the batches they are trained in. No mlx here: lists and numpy.

A row is (tokens, offset): the loss counts the tokens from `offset` on, which are the answer and its
end token: the target tokens. Nothing is ever cut: a row that is too long is left out and listed.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from pydantic import ValidationError

from understudy.errors import DatasetError
from understudy.records import ChatExample
from understudy.text.thinking import TEMPLATE_ARGUMENTS
from understudy.text.words import one_line

PAD_TO = 8
PROMPTS = 3
"""Of a split, answered at evaluations to be read."""


class Row(NamedTuple):
    """One chat as the model sees it."""

    tokens: list[int]
    offset: int


class Split(NamedTuple):
    """Train or valid: the rows that are short enough, what they ask, and how many are too long."""

    rows: list[Row]
    questions: list[str]
    dropped: int


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer used here."""

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> list[int]: ...
    def decode(self, token_ids: Sequence[int], **options: Any) -> str: ...


def read_split(name: str, file: Path, tokenizer: ChatTokenizer, ends: Collection[int], limit: int, out: Path) -> Split:
    """The rows of one split of at most `limit` tokens; the others are listed in dropped.jsonl. Raises DatasetError."""
    examples = read(file)
    rows = [encode(example, tokenizer, ends) for example in examples]
    short, dropped = within(rows, limit)
    if dropped:
        list_dropped(out / "dropped.jsonl", name, rows, dropped, limit)
    questions = [example.messages[-2].content for example, row in zip(examples, rows) if len(row.tokens) <= limit]
    return Split(short, questions, len(dropped))


def read(file: Path) -> list[ChatExample]:
    """The rows of one split of the dataset; [] when the file is empty. Raises DatasetError."""
    examples = []
    for number, line in enumerate(filter(str.strip, file.read_text(encoding="utf-8").split("\n")), 1):
        try:
            examples.append(ChatExample.model_validate_json(line))
        except ValidationError:
            raise DatasetError(
                f"{file.name}, row {number}: {one_line(line, 60)} is not a chat; a row is "
                '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}'
            ) from None
    for number, example in enumerate(examples, 1):
        if len(example.messages) < 2 or example.messages[-1].role != "assistant":
            raise DatasetError(f"{file.name}, row {number}: a row must end with an answer after a question")
    return examples


def encode(example: ChatExample, tokenizer: ChatTokenizer, ends: Collection[int]) -> Row:
    """`example` as tokens, ending with its end token. Raises DatasetError when the template does not allow that."""
    messages = [message.model_dump() for message in example.messages]
    options = {"tokenize": True, "return_dict": False, **TEMPLATE_ARGUMENTS}
    tokens = list(tokenizer.apply_chat_template(messages, **options))
    prompt = list(tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **options))
    where = f"the row that asks {one_line(messages[-2]['content'], 60)!r}"
    if tokens[: len(prompt)] != prompt:
        raise DatasetError(
            f"{where}: the base's chat template writes the question differently with and without its answer, "
            "so a tuned model would never see what it was trained on; take a base with a plain chat template"
        )
    last = max((i for i, token in enumerate(tokens) if token in ends), default=-1)
    if last < len(prompt) or tokenizer.decode(tokens[last + 1 :]).strip():
        raise DatasetError(
            f"{where}: the base's chat template does not end an answer with an end token ({sorted(ends)}), "
            "so a tuned model would never stop; take an instruct base"
        )
    return Row(tokens[: last + 1], len(prompt))  # some templates put a line break after the end token


def within(rows: Sequence[Row], limit: int) -> tuple[list[Row], list[int]]:
    """The rows of at most `limit` tokens, and the numbers (from 1) of the others."""
    short = [row for row in rows if len(row.tokens) <= limit]
    return short, [number for number, row in enumerate(rows, 1) if len(row.tokens) > limit]


def list_dropped(file: Path, split: str, rows: Sequence[Row], numbers: Sequence[int], limit: int) -> None:
    """Add one line of JSON for each dropped row to `file`."""
    with file.open("a", encoding="utf-8") as lines:
        for number in numbers:
            tokens = len(rows[number - 1].tokens)
            lines.write(json.dumps({"split": split, "row": number, "tokens": tokens, "limit": limit}) + "\n")


def width(row: Row) -> int:
    """Tokens `row` takes in a batch of its own: few shapes to compile, little padding."""
    return 1 + PAD_TO * -(-(len(row.tokens) - 1) // PAD_TO)


def edges(rows: Sequence[Row], size: int, budget: int = 4096) -> list[int]:
    """Where batches end when rows stand in order of length: `size` rows, fewer where they take over `budget` tokens."""
    ends: list[int] = []
    start = 0
    for place, wide in enumerate(sorted(map(width, rows))):
        if place > start and (place - start == size or wide * (place - start + 1) > budget):
            ends.append(place)
            start = place
    return [*ends, len(rows)] if rows else []


def epoch(
    rows: Sequence[Row], ends: Sequence[int], rng: np.random.Generator | None, accumulation: int = 1
) -> list[list[int]]:
    """Indices of every row exactly once, in batches of rows about as long; shuffled with `rng`, fixed without.

    Batches that follow each other come in turn from each of `accumulation` parts of the lengths, short to long:
    a step is a small picture of the whole set, though none of its batches is.
    """
    order = list(range(len(rows))) if rng is None else [int(i) for i in rng.permutation(len(rows))]
    order.sort(key=lambda i: width(rows[i]))  # stable: rows of one width stay shuffled
    batches = [order[start:end] for start, end in zip([0, *ends], ends)]
    if rng is None:
        return batches
    parts = [rng.permutation(part).tolist() for part in np.array_split(np.arange(len(batches)), accumulation)]
    return [batches[i] for turn in zip_longest(*parts) for i in turn if i is not None]


def padding_share(rows: Sequence[Row], ends: Sequence[int]) -> float:
    """Share of an epoch's tokens that are padding."""
    total = sum(len(batch) * max(width(rows[i]) for i in batch) for batch in epoch(rows, ends, None))
    return 1 - sum(len(row.tokens) for row in rows) / total


def pad(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [rows, width of the longest], zeros behind each row, and (offset, length) of each."""
    batch = np.zeros((len(rows), max(map(width, rows))), dtype=np.int32)
    for place, row in zip(batch, rows):
        place[: len(row.tokens)] = row.tokens
    return batch, np.array([(row.offset, len(row.tokens)) for row in rows], dtype=np.int32)


def batches(
    rows: Sequence[Row], size: int, seed: int | None, skip: int = 0, budget: int = 4096, accumulation: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Padded batches: endless and newly shuffled each epoch with a seed, one fixed pass with None.

    The first `skip` are left out without being made. An epoch's order depends on its number and the seed alone.
    """
    ends = edges(rows, size, budget)
    if not ends:
        return
    for number in count(skip // len(ends)) if seed is not None else range(1):
        rng = None if seed is None else np.random.default_rng([number, seed])
        for indices in epoch(rows, ends, rng, accumulation)[max(0, skip - number * len(ends)) :]:
            yield pad([rows[i] for i in indices])


def steps(
    rows: Sequence[Row], size: int, seed: int, skip: int = 0, budget: int = 4096, accumulation: int = 1
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """The padded batches of each optimizer step, `accumulation` of them, without an end; see `batches`."""
    endless = batches(rows, size, seed, skip, budget, accumulation)
    while step := list(islice(endless, accumulation)):
        yield step


def show(batch: np.ndarray, lengths: np.ndarray, tokenizer: ChatTokenizer) -> str:
    """A batch as the model sees it, the target tokens between ⟦ and ⟧."""
    parts = []
    for tokens, (offset, length) in zip(batch.tolist(), lengths.tolist()):
        padding = len(tokens) - length
        parts.append(
            f"--- {length} tokens, {length - offset} of them targets, {padding} of padding\n"
            f"{tokenizer.decode(tokens[:offset])}⟦{tokenizer.decode(tokens[offset:length])}⟧\n"
        )
    return "\n".join(parts)
