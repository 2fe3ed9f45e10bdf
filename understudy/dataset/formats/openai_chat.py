"""OpenAI chat: JSONL of messages, for its fine-tuning files and everything that reads the same."""

from understudy.dataset.formats import Dataset, Row, json_lines


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.jsonl, valid.jsonl, test.jsonl."""
    return {
        f"{split}.jsonl": json_lines({"messages": messages(row)} for row in rows)
        for split, rows in dataset.chats.items()
    }


def messages(row: Row) -> list[dict[str, str]]:
    """The turns of a chat."""
    return [{"role": turn.role, "content": turn.content} for turn in row.messages]
