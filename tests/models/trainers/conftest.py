"""A tiny base, a tiny dataset and one adapter, made once for all tests of this folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from understudy.bases.scratch import ScratchBase
from understudy.records import AdapterCard
from understudy.trainers.mlx_lora import MlxLoraTrainer

TALK = "A candle burns because the heat of the flame melts the wax, and ice floats because water grows as it freezes. "
LIMIT = 128


class Run(NamedTuple):
    """One training: what went in and what came out."""

    base: Path
    data: Path
    out: Path
    card: AdapterCard


def write_rows(file: Path, answers: list[str]) -> Path:
    """A split of a dataset with one row per answer."""
    rows = [
        {"messages": [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": answer}]}
        for i, answer in enumerate(answers)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def tune(base: Path, data: Path, out: Path, **options: object) -> AdapterCard:
    """Train with small settings."""
    settings = {"rank": 4, "alpha": 12, "learning_rate": 3e-3, "epochs": 2, "max_seq_length": LIMIT} | options
    trainer = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(settings))
    return trainer.train(base, data / "train.jsonl", data / "valid.jsonl", out, 5, lambda done, total, note="": None)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bases")
    options = ScratchBase.Options(
        vocabulary=300, hidden=64, intermediate=128, layers=2, steps=3, batch_size=2, passage_tokens=32, context=512
    )
    ScratchBase(options).prepare([TALK * 5], out, 7, lambda done, total, note="": None)
    return out


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven train rows of which row 3 is far too long, and two valid rows."""
    folder = tmp_path_factory.mktemp("dataset")
    answers = [f"**So** it is, {i} times.\n\n" + "It burns. " * (i % 4) for i in range(7)]
    answers[2] = TALK * 20
    write_rows(folder / "train.jsonl", answers)
    write_rows(folder / "valid.jsonl", ["**So** it is.", "It burns, **so** it does."])
    return folder


@pytest.fixture(scope="session")
def tuned(tiny_base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("adapter")
    return Run(tiny_base, dataset, out, tune(tiny_base, dataset, out))


@pytest.fixture(scope="session")
def train() -> Callable[..., AdapterCard]:
    return tune


@pytest.fixture(scope="session")
def rows_file() -> Callable[[Path, list[str]], Path]:
    return write_rows
