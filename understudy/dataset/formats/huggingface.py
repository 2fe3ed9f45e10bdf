"""
A Hugging Face dataset folder: data/*.parquet with chat messages and their provenance, and the dataset card.

The Hub says `validation` where mlx-lm says `valid`; the card's `configs` names each file.
"""

import io
from collections import Counter
from typing import Any

import yaml

from understudy.dataset.card import LABEL, PERMISSION
from understudy.dataset.formats import Dataset, Row, cell, link, linked, watch
from understudy.dataset.formats.openai_chat import messages
from understudy.records import Pair
from understudy.text.table import table
from understudy.text.words import counted

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TALKS_SHOWN = 500
PROVENANCE = (
    "pair_id document_id title published question_number tags part start_seconds end_seconds document_sha256 "
    "teacher prompt_sha256"
).split()
_USE = (
    "To tune a small chat model to the manner and the format of these talks: how it explains, how long it goes on, "
    "where it puts a list or a bold term. Train on `train`, choose with `validation`, and look at `test` only to score."
)
_NOT = (
    "It is no source of facts, no transcript of what was said, and no benchmark: questions and answers were written "
    "by a program, and no person has checked that they are true."
)


def files(dataset: Dataset) -> dict[str, bytes]:
    """README.md, data/{train,validation,test}.parquet and the card's pictures."""
    data = {f"data/{SPLITS[split]}.parquet": _parquet(rows) for split, rows in dataset.chats.items()}
    pictures = {f"pictures/{name}": picture for name, picture in dataset.pictures.items()}
    return {"README.md": _card(dataset).encode(), **data, **pictures}


def _parquet(rows: list[Row]) -> bytes:
    """The bytes of one split. The columns are spelled out, so that one of nulls only keeps its type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, seconds = pa.string(), pa.float64()
    types: dict[str, Any] = {
        "messages": pa.list_(pa.struct([("role", text), ("content", text)])),
        **dict.fromkeys(PROVENANCE, text),
        **{"question_number": pa.int64(), "part": pa.int64(), "tags": pa.list_(text)},
        **{"start_seconds": seconds, "end_seconds": seconds, "link": text},
    }
    listed = [
        {"messages": messages(row), **_provenance(row.pair), "link": link(row.pair) if row.pair else None}
        for row in rows
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(listed, schema=pa.schema(list(types.items()))), buffer, compression="snappy")
    return buffer.getvalue()


def _provenance(pair: Pair | None) -> dict[str, Any]:
    """Where a row comes from; nothing is known of a variant's place in a talk."""
    return {name: getattr(pair, name) if pair else None for name in PROVENANCE}


def _card(dataset: Dataset) -> str:
    pictures = [f"![{name.rsplit('.', 1)[0]}](pictures/{name})" for name in dataset.pictures]
    extra = sum(row.pair is None for rows in dataset.chats.values() for row in rows)
    written = "AI wrote every question and every answer from the transcripts of the talks."
    if any(row.system for rows in dataset.chats.values() for row in rows):
        written = "AI wrote the questions and answers from the texts; passages come with each, and some are refusals."
    written += f" The train file has {counted(extra, 'row')} more, made from these or by the base model." * bool(extra)
    sections = [
        f"---\n{yaml.safe_dump(_front_matter(dataset), sort_keys=False, allow_unicode=True)}---",
        f"# Questions and answers from the talks of {dataset.name}",
        f"{dataset.rows} question-and-answer pairs from {counted(len(dataset.origins), 'talk')}. {written}",
        "## In numbers" if dataset.summary or pictures else "",
        dataset.summary,
        *pictures,
        "## Who wrote it",
        _teachers(dataset),
        "## What it is for",
        _USE,
        "## What it is not",
        f"{_NOT} {LABEL}",
        "## Permission",
        f"`permission: {dataset.permission}`. {PERMISSION.get(dataset.permission, PERMISSION[None])} "
        "A transcript belongs to its speaker or channel; the answers here were written from it by a program.",
        "## Sources",
        _sources(dataset),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(dataset: Dataset) -> dict[str, Any]:
    """The card's metadata as the Hub reads it. A licence that is not stated is 'unknown', never a guess."""
    languages = sorted({o.language.split("-")[0].lower() for o in dataset.origins.values() if o.language})
    size = next((name for most, name in SIZES if dataset.rows < most), "1M<n<10M")
    files = [{"split": SPLITS[split], "path": f"data/{SPLITS[split]}.parquet"} for split in dataset.splits]
    return {
        "pretty_name": f"{dataset.name}: questions and answers from talks",
        "license": dataset.licence or "unknown",
        **({"language": languages} if languages else {}),
        "task_categories": ["question-answering", "text-generation"],
        "size_categories": [size],
        "annotations_creators": ["machine-generated"],
        "tags": ["synthetic", "understudy"],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def _teachers(dataset: Dataset) -> str:
    counts = Counter((p.teacher, p.prompt_sha256 or "") for rows in dataset.splits.values() for p in rows)
    listed = [
        (cell(teacher), f"`{sha256}`" if sha256 else "reads no prompt", count)
        for (teacher, sha256), count in sorted(counts.items())
    ]
    return table(["teacher", "sha256 of its prompts", "pairs"], listed)


def _sources(dataset: Dataset) -> str:
    """A row per talk: title, date, where its words come from, licence and permission."""
    pairs = Counter(pair.document_id for rows in dataset.splits.values() for pair in rows)
    listed = [
        (
            linked(origin.title, watch(name)),
            f"`{name}`",
            origin.published or "",
            cell(origin.how or ""),
            cell(dataset.licences.get(name, "not stated")),
            dataset.permission or "not stated",
            pairs[name],
        )
        for name, origin in list(dataset.origins.items())[:TALKS_SHOWN]
    ]
    left = len(dataset.origins) - len(listed)
    more = f"\n\nThe other {left} talks are in the columns `document_id` and `title` of the data." if left else ""
    return table(["talk", "document", "published", "words from", "licence", "permission", "pairs"], listed) + more
