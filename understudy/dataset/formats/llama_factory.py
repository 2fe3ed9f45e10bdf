"""
LLaMA-Factory: the alpaca and the sharegpt files in one folder, the dataset_info.json that names them, and train.yaml.

The keys are those of its data/README.md: `dataset_dir` is this folder, `dataset` a name in that file. train.yaml holds
the settings of this preset's training, where there are rows to train on.
"""

import json
from typing import Any

from understudy.dataset.formats import Dataset, alpaca, sharegpt, training

COLUMNS: dict[str, dict[str, Any]] = {
    "alpaca": {
        "formatting": "alpaca",
        "columns": {"prompt": "instruction", "query": "input", "response": "output"},
    },
    "sharegpt": {
        "formatting": "sharegpt",
        "columns": {"messages": "conversations"},
        "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
    },
}


def files(dataset: Dataset) -> dict[str, bytes]:
    """dataset_info.json with a name per format and split, e.g. 'candle-lectures_alpaca_train', and their files."""
    formats = {"alpaca": alpaca.files(dataset), "sharegpt": sharegpt.files(dataset)}
    inside = {f"{kind}/{name}": data for kind, files_of in formats.items() for name, data in files_of.items()}
    has_system = any(row.system for rows in dataset.chats.values() for row in rows)
    columns = {kind: _with_system(kind) if has_system else COLUMNS[kind] for kind in COLUMNS}
    info = {
        f"{dataset.name}_{kind}_{name.split('.')[0]}": {"file_name": f"{kind}/{name}", **columns[kind]}
        for kind, files_of in formats.items()
        for name in files_of
    }
    inside = {"dataset_info.json": json.dumps(info, ensure_ascii=False, indent=1).encode() + b"\n", **inside}
    if dataset.training and "train" in dataset.splits:
        inside["train.yaml"] = training.llama_factory(dataset.name, list(dataset.splits), dataset.training)
    return inside


def _with_system(kind: str) -> dict[str, Any]:
    """The columns of files whose rows have a system text."""
    place = {"alpaca": ("columns", {"system": "system"}), "sharegpt": ("tags", {"system_tag": "system"})}
    section, more = place[kind]
    return COLUMNS[kind] | {section: COLUMNS[kind][section] | more}
