"""ShareGPT: JSONL of conversations between human and gpt, after a system text where rows have one."""

from understudy.dataset.formats import Dataset, json_lines

ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.jsonl, valid.jsonl, test.jsonl."""
    return {
        f"{split}.jsonl": json_lines(
            {"conversations": [{"from": ROLES[turn.role], "value": turn.content} for turn in row.messages]}
            for row in rows
        )
        for split, rows in dataset.chats.items()
    }
