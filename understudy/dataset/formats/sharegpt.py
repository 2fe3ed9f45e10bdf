"""ShareGPT: JSONL of conversations between human and gpt."""

from understudy.dataset.formats import Dataset, json_lines


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.jsonl, valid.jsonl, test.jsonl."""
    return {
        f"{split}.jsonl": json_lines(
            {"conversations": [{"from": "human", "value": pair.question}, {"from": "gpt", "value": pair.answer}]}
            for pair in rows
        )
        for split, rows in dataset.splits.items()
    }
