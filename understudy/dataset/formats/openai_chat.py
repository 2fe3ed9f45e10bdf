"""OpenAI chat: JSONL of messages, for its fine-tuning files and everything that reads the same."""

from understudy.dataset.formats import Dataset, json_lines
from understudy.records import Pair


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.jsonl, valid.jsonl, test.jsonl."""
    return {
        f"{split}.jsonl": json_lines({"messages": messages(pair)} for pair in rows)
        for split, rows in dataset.splits.items()
    }


def messages(pair: Pair) -> list[dict[str, str]]:
    """The pair as the two turns of a chat."""
    return [{"role": "user", "content": pair.question}, {"role": "assistant", "content": pair.answer}]
