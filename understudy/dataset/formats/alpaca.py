"""Alpaca: one JSON list per split of instruction, input and output."""

import json

from understudy.dataset.formats import Dataset


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.json, valid.json, test.json; `input` is always empty, as no question needs a text beside it."""
    return {
        f"{split}.json": json.dumps(
            [{"instruction": pair.question, "input": "", "output": pair.answer} for pair in rows],
            ensure_ascii=False,
            indent=1,
        ).encode()
        + b"\n"
        for split, rows in dataset.splits.items()
    }
