"""axolotl: the rows of `openai_chat`, and an axolotl.yml that names them and holds this preset's settings."""

from understudy.dataset.formats import Dataset, openai_chat, training


def files(dataset: Dataset) -> dict[str, bytes]:
    """train.jsonl, valid.jsonl, test.jsonl of messages, and axolotl.yml where there are rows to train on."""
    inside = openai_chat.files(dataset)
    if dataset.training and "train" in dataset.splits:
        inside["axolotl.yml"] = training.axolotl(list(dataset.splits), dataset.training)
    return inside
