"""Laws of the pictures and tables of a training."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from understudy.records import AdapterCard
from understudy.report import training
from understudy.report.charts import loss_curve
from understudy.report.drawing import data_uri, standing_alone

LOSSES = {0: 3.0, 10: 2.4, 20: 2.1, 30: 2.15}
SAMPLES = [
    {"iteration": i, "question": "Why | how?", "answer": "So <b>it</b>\n\nis | so", "ended": i > 10} for i in LOSSES
]


def metrics(steps: int = 30, looks: dict[int, float] | None = None) -> list[dict[str, Any]]:
    """Lines as the trainer writes them: numbers of a step and valid losses apart."""
    rows: list[dict[str, Any]] = []
    for i in range(steps + 1):
        known = {"iteration": i, "step": i, "train_loss": None, "valid_loss": None, "peak_memory_bytes": 10**8}
        if i:
            rows.append(known | {"train_loss": 3 - i / 100, "learning_rate": 1e-4, "gradient_norm": 1.23456})
        if i in (looks or LOSSES):
            rows.append(known | {"valid_loss": (looks or LOSSES)[i]})
    return rows


def card(kept: int) -> AdapterCard:
    return AdapterCard(
        trainable_parameters=1,
        steps=30,
        iterations=30,
        epochs=1,
        stopped_early=False,
        best_iteration=kept,
        base_valid_loss=3.0,
        best_valid_loss=LOSSES[kept],
        longest_row=10,
        padding_share=0,
        tokens_per_second=1,
        overhead_share=0,
        peak_memory_bytes=1,
        seconds=1,
        settings={"valid_rows": 4},
    )


def test_the_mark_is_at_the_weights_that_were_kept_not_at_the_lowest_loss() -> None:
    drawn = loss_curve(metrics(), kept=30)
    assert "kept 2.150" in drawn and "kept 2.150" in ElementTree.fromstring(drawn).attrib["aria-label"]
    assert "best 2.100" in loss_curve(metrics())
    accumulated = [row | {"step": row["iteration"] // 2} for row in metrics()]
    assert "kept 2.150" in loss_curve(accumulated, kept=30)


def test_an_iteration_has_one_row_with_its_train_and_its_valid_loss() -> None:
    table = training.table(metrics())
    assert [row["iteration"] for row in table] == list(range(31))
    assert table[10] == {
        "iteration": 10,
        "train loss": 2.9,
        "valid loss": 2.4,
        "learning rate": 1e-4,
        "gradient norm": 1.23,
        "tokens/s": None,
        "memory MB": 100,
    }


@pytest.mark.parametrize("steps", [200, 201, 5000])
@pytest.mark.parametrize("every", [1, 7, 500])
def test_the_table_has_at_most_200_rows_and_as_many_evaluations_as_fit(steps: int, every: int) -> None:
    looks = {i: 2.0 for i in range(0, steps + 1, every)}
    table = training.table(metrics(steps, looks))
    assert len(table) <= training.ROWS_SHOWN
    assert table[-1]["iteration"] == steps and table[0]["iteration"] == 0
    assert sum(row["valid loss"] is not None for row in table) >= min(len(looks), training.ROWS_SHOWN - 1)


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert training.lines(file) == []
    file.write_text('{"iteration": 0}\n{"iterat')
    assert training.lines(file) == [{"iteration": 0}]


def test_the_picture_stands_alone_and_travels_in_the_page() -> None:
    page = training.page(metrics(), SAMPLES, card(20))
    [code] = re.findall(r"!\[[^]]*\]\(data:image/svg\+xml;base64,([^)]+)\)", page)
    drawn = ElementTree.fromstring(base64.b64decode(code))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in ElementTree.tostring(drawn, "unicode")
    assert "iteration 20 of 30" in page and "from 3.000 to 2.100" in page
    assert standing_alone("") == "" and data_uri(b"\x89PNG").startswith("data:image/png;base64,")


def test_what_a_model_says_cannot_break_the_list_it_is_shown_in() -> None:
    lines = training.page(metrics(), SAMPLES, card(20)).splitlines()
    rows = [line for line in lines if line.startswith("- *iteration ")]
    assert len(rows) == len(SAMPLES) and "- *iteration 20, kept:* " in "".join(rows)
    assert all("is | so" in row and "<b>" not in row for row in rows)


def test_later_weights_that_were_kept_for_their_form_are_explained() -> None:
    assert "The lowest was" not in training.page(metrics(), SAMPLES, card(20))
    lower = [row | {"valid_loss": 2.05} if row.get("valid_loss") == 2.1 else row for row in metrics()]
    assert "The lowest was 2.050; later weights within" in training.page(lower, SAMPLES, card(20))


def test_a_long_training_stays_small_enough_to_be_listed() -> None:
    rows, many = (
        metrics(5000, {i: 2.0 for i in range(0, 5001, 5)}),
        [sample | {"iteration": i, "answer": "word " * 500} for i in range(1000) for sample in SAMPLES[:1]],
    )
    assert len(training.page(rows, many, card(30))) < 200_000 and len(json.dumps(training.table(rows))) < 200_000
