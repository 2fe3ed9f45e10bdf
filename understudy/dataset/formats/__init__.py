"""
The kept pairs in the files other programs train on.

    alpaca         one JSON list per split: instruction, input, output
    sharegpt       JSONL per split: conversations of human and gpt
    openai_chat    JSONL per split: messages of user and assistant
    llama_factory  alpaca and sharegpt in one folder, with the dataset_info.json and train.yaml that LLaMA-Factory reads
    axolotl        openai_chat and an axolotl.yml
    huggingface    parquet per split and a dataset card

A format is a module of that name with `files(dataset) -> {name: bytes}`. A split without rows has no file,
and nothing names one: readers of all these formats refuse an empty file.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from understudy.dataset.card import MAY_BE_GIVEN_ON
from understudy.dataset.formats.training import Training
from understudy.errors import ConfigError, DatasetError
from understudy.records import ChatExample, Document, Message, Pair, Split, SplitPlan
from understudy.text.table import plain
from understudy.text.words import one_line

FORMATS = ("alpaca", "sharegpt", "openai_chat", "llama_factory", "axolotl", "huggingface")
PROBLEMS_SHOWN = 5
_VIDEO = re.compile(r"yt-([A-Za-z0-9_-]{11})")
# Line ends to str.splitlines, but not to JSON: unescaped, a reader by lines would cut a row in two.
_LINE_ENDS = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}


@dataclass(frozen=True)
class Origin:
    """Where the words of one talk come from."""

    title: str
    how: str | None = None
    language: str | None = None
    published: str | None = None


class Row(NamedTuple):
    """One row of a split, as it is trained on."""

    messages: Sequence[Message]
    pair: Pair | None
    """What it was made of; None for a variant."""
    context: str = ""
    """The passages that come before the question."""

    @property
    def system(self) -> str:
        """The system text; '' without one."""
        return next((message.content for message in self.messages if message.role == "system"), "")

    @property
    def asked(self) -> str:
        """The user's turn, whole."""
        return next(message.content for message in self.messages if message.role == "user")

    @property
    def answer(self) -> str:
        """What is learned."""
        return self.messages[-1].content


@dataclass(frozen=True)
class Dataset:
    """What a format writes, and what its card says about it."""

    name: str
    permission: str | None
    splits: dict[Split, list[Pair]]
    """Only splits with rows, in file order."""
    chats: Mapping[Split, list[Row]]
    """The same, as trained on: with system text, passages, and the variants of train."""
    origins: dict[str, Origin] = field(default_factory=dict)
    """Document id > origin, of the talks with rows, by id."""
    licence: str | None = None
    licences: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    training: Training | None = None
    """The settings that programs of other makers are given beside the rows."""

    @property
    def rows(self) -> int:
        """Pairs on all splits."""
        return sum(map(len, self.splits.values()))


def write(
    kind: str,
    pairs: Iterable[Pair],
    plan: SplitPlan,
    config_name: str,
    permission: str | None,
    out: Path,
    *,
    documents: Iterable[Document] = (),
    licence: str | None = None,
    licences: Mapping[str, str] | None = None,
    summary: str = "",
    pictures: Mapping[str, bytes] | None = None,
    rows: Mapping[Split, Sequence[ChatExample]] | None = None,
    context: Callable[[Pair], str] = lambda pair: "",
    training: Training | None = None,
) -> list[Path]:
    """Write the dataset in format `kind` into the folder `out`; returns its files. The same input gives the same bytes.

    `documents` are read once, for languages and origins; `licence` is the dataset's own (an identifier of
    the Hugging Face Hub), `licences` maps a document id to the talk's; `summary` is markdown and `pictures` file name >
    PNG, both for the card. `rows` are those that are trained on, the pairs' first and in their order, and `context`
    gives the passages of a pair; without them a row is question and answer. Raises DatasetError for pairs that do not
    fit the plan, ConfigError for the rest.
    """
    if problems := _problems(kind, permission, licence):
        raise ConfigError(problems)
    splits = by_split(pairs, plan)
    if not any(splits.values()):
        raise DatasetError("no pair is kept, so there is nothing to write; loosen the gates in the preset (gates:)")
    dataset = Dataset(
        name=config_name,
        permission=permission,
        splits={split: own for split, own in splits.items() if own},
        chats={split: _chats(own, (rows or {}).get(split), context) for split, own in splits.items() if own},
        origins=_origins(splits, documents),
        licence=licence,
        licences=licences or {},
        summary=summary,
        pictures=pictures or {},
        training=training,
    )
    return _put(import_module(f"understudy.dataset.formats.{kind}").files(dataset), out)


def _chats(pairs: Sequence[Pair], rows: Sequence[ChatExample] | None, context: Callable[[Pair], str]) -> list[Row]:
    if rows is None:
        turns = [[Message(role="user", content=p.question), Message(role="assistant", content=p.answer)] for p in pairs]
        return [Row(one, pair) for one, pair in zip(turns, pairs, strict=True)]
    of_pairs = [Row(row.messages, pair, context(pair)) for row, pair in zip(rows, pairs, strict=False)]
    return [*of_pairs, *(Row(row.messages, None) for row in rows[len(pairs) :])]


def by_split(pairs: Iterable[Pair], plan: SplitPlan) -> dict[Split, list[Pair]]:
    """The pairs of each split in the order of the plan. Raises DatasetError where pairs and plan do not fit."""
    listed = list(pairs)
    known = {pair.pair_id: pair for pair in listed}
    planned = Counter(pair_id for ids in plan.splits.values() for pair_id in ids)
    problems = [f"two pairs are called {name!r}" for name, n in Counter(p.pair_id for p in listed).items() if n > 1]
    problems += [f"{name!r} is {n} times in the plan" for name, n in planned.items() if n > 1]
    problems += [f"{name!r} is in the plan, but not among the pairs" for name in planned if name not in known]
    dropped = {pair.pair_id for pair in plan.dropped}
    for name, pair in known.items():
        if pair.kept and name not in planned and name not in dropped:
            problems.append(f"{name!r} is kept, but in no split")
        elif not pair.kept and name in planned:
            problems.append(f"{name!r} is in the plan, but refused")
        elif pair.kept and not (pair.question.strip() and pair.answer.strip()):
            problems.append(f"{name!r} has no {'answer' if pair.question.strip() else 'question'}")
    if problems:
        more = f", and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise DatasetError(
            f"the pairs and the split do not fit: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}. "
            "Where a file was edited by hand, delete it and run again: gate and split make both again"
        )
    return {split: [known[pair_id] for pair_id in ids] for split, ids in plan.splits.items()}


def link(pair: Pair) -> str | None:
    """The second of the video where the answer begins; None for what is no video of YouTube."""
    return watch(pair.document_id, pair.start_seconds)


def watch(document_id: str, seconds: float | None = None) -> str | None:
    """The video of a document, from `seconds` on; None when its id is not 'yt-' and a video's eleven characters."""
    video = _VIDEO.fullmatch(document_id)
    if video is None:
        return None
    return f"https://youtu.be/{video[1]}" + (f"?t={int(seconds)}" if seconds else "")


def cell(text: str, limit_characters: int = 80) -> str:
    """`text` for one cell of a markdown table: on one line, nothing in it read as markup."""
    return plain(one_line(text, limit_characters))


def linked(text: str, address: str | None, limit_characters: int = 80) -> str:
    """A cell that leads to `address`, where there is one."""
    return f"[{cell(text, limit_characters)}]({address})" if address else cell(text, limit_characters)


def json_lines(rows: Iterable[Any]) -> bytes:
    """One JSON value per line, whatever line ends its texts hold."""
    return "".join(f"{json.dumps(row, ensure_ascii=False).translate(_LINE_ENDS)}\n" for row in rows).encode()


def _problems(kind: str, permission: str | None, licence: str | None) -> list[str]:
    problems = []
    if kind not in FORMATS:
        problems.append(f"unknown format {kind!r}; choose from {', '.join(FORMATS)}")
    if licence and permission not in MAY_BE_GIVEN_ON:
        problems.append(
            f"licence {licence!r} cannot be given to others with permission {permission!r}: "
            "leave the licence out, or set permission to owned, permitted or public_domain where that is true"
        )
    return problems


def _origins(splits: Mapping[Split, list[Pair]], documents: Iterable[Document]) -> dict[str, Origin]:
    origins = {p.document_id: Origin(p.title, published=p.published) for rows in splits.values() for p in rows}
    for document in documents:
        if document.document_id in origins:
            origins[document.document_id] = Origin(document.title, document.how, document.language, document.published)
    return dict(sorted(origins.items()))


def _put(files: Mapping[str, bytes], out: Path) -> list[Path]:
    for name, data in files.items():
        file = out / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return [out / name for name in files]
