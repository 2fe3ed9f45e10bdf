"""Alpaca: one JSON list per split of instruction, input and output; system text and reasoning where rows have some."""

import json

from understudy.dataset.formats import Dataset, Row


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.json, valid.json, test.json; `input` holds the passages, and is empty where a question stands alone."""
    return {
        f"{split}.json": json.dumps([entry(row) for row in rows], ensure_ascii=False, indent=1).encode() + b"\n"
        for split, rows in dataset.chats.items()
    }


def entry(row: Row) -> dict[str, str]:
    """One row; where a pair has no passages, and for variants, the instruction is the whole turn of the user."""
    question = row.pair.question if row.pair and row.context else row.asked
    fields = {"instruction": question, "input": row.context, "output": row.answer}
    fields |= {"system": row.system} if row.system else {}
    return fields | ({"reasoning": row.pair.reasoning} if row.pair and row.pair.reasoning else {})
