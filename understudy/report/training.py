"""A training run to look at: its losses as a table and a picture, and what it answered on the way."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from understudy.records import AdapterCard, TrialCard
from understudy.report.charts import loss_curve
from understudy.report.drawing import data_uri, standing_alone
from understudy.text.words import one_line

ROWS_SHOWN = 200  # the UI lists whole bodies: each artifact stays under 200 KB
POINTS_DRAWN = 400
WORTH_A_WORD = 1e-3  # nats
MOMENTS_SHOWN, ANSWER_CHARACTERS = 8, 300

Rows = Sequence[Mapping[str, Any]]
Cell = str | int | float | None


def lines(file: Path) -> list[dict[str, Any]]:
    """The finished lines of a file of JSON that may be growing; [] when it is not there yet."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def table(metrics: Rows) -> list[dict[str, Cell]]:
    """Lines of metrics.jsonl, one row per iteration, at most ROWS_SHOWN: evaluations first, the rest evenly spaced."""
    return [
        {
            "iteration": row["iteration"],
            "train loss": _short(row.get("train_loss")),
            "valid loss": _short(row.get("valid_loss")),
            "learning rate": _short(row.get("learning_rate"), 3),
            "gradient norm": _short(row.get("gradient_norm"), 3),
            "tokens/s": _short(row.get("tokens_per_second"), 3),
            "memory MB": None if row.get("peak_memory_bytes") is None else round(row["peak_memory_bytes"] / 1e6),
        }
        for row in thinned(_merged(metrics), ROWS_SHOWN)
    ]


def thinned(rows: Rows, most: int) -> list[Mapping[str, Any]]:
    """At most `most` rows in their order: the last and those with a valid loss first, then others, evenly spaced."""
    if len(rows) <= most:
        return list(rows)
    last = len(rows) - 1
    looks = [place for place, row in enumerate(rows) if place == last or row.get("valid_loss") is not None]
    others = sorted({*range(last)} - {*looks})
    chosen = _spaced(looks, most)
    chosen += _spaced(others, most - len(chosen))
    return [rows[place] for place in sorted(chosen)]


def picture(metrics: Rows, kept: int | None) -> str:
    """The loss curve as an SVG of its own, the iteration whose weights were kept marked; '' without losses."""
    return standing_alone(loss_curve(thinned(metrics, POINTS_DRAWN), kept))


def page(metrics: Rows, samples: Rows, card: AdapterCard) -> str:
    """The loss picture and the fixed prompts' answers over time, as markdown."""
    validated = bool(card.settings.get("valid_rows", True))
    kind = "valid loss" if validated else "train loss (there is no valid set)"
    summary = (
        f"The {kind} went from {card.base_valid_loss:.3f} to {card.best_valid_loss:.3f} nats per answer token; the "
        f"weights of iteration {card.best_iteration} of {card.iterations} were kept"
        f"{', and it stopped early' if card.stopped_early else ''}."
    )
    lowest = min((row["valid_loss"] for row in metrics if row.get("valid_loss") is not None), default=None)
    if lowest is not None and lowest < card.best_valid_loss - WORTH_A_WORD:
        summary += f" The lowest was {lowest:.3f}; later weights within trainer.tolerance of it are kept instead."
    drawn = picture(metrics, card.best_iteration)
    parts = [f"![Loss over steps]({data_uri(drawn)})"] if drawn else ["No losses were recorded."]
    questions = list(dict.fromkeys(sample["question"] for sample in samples))
    if questions:
        parts.append("## Answers during training")
    for question in questions:
        answers = [sample for sample in samples if sample["question"] == question]
        parts += [f"**{_inline(question)}**", _answers(answers, card.best_iteration)]
    return "\n\n".join([summary, *parts]) + "\n"


def trials(cards: Sequence[TrialCard], learning_rate: float) -> list[dict[str, Cell]]:
    """The trials as rows of a table; the one with `learning_rate` was taken."""
    return [
        {
            "learning rate": card.learning_rate,
            "strength": _short(card.strength, 3),
            "steps": card.steps,
            "valid loss before": _short(card.base_valid_loss),
            "valid loss after": _short(card.valid_loss),
            "seconds": round(card.seconds, 1),
            "outcome": card.dropped or ("taken" if card.learning_rate == learning_rate else ""),
        }
        for card in cards
    ]


def _answers(samples: Rows, kept: int) -> str:
    shown = set(_spaced(list(range(len(samples))), MOMENTS_SHOWN))
    shown |= {place for place, sample in enumerate(samples) if sample["iteration"] == kept}
    # a list: Prefect's UI cuts off what is long in a table
    return "\n".join(
        f"- *iteration {sample['iteration']}{', kept' if sample['iteration'] == kept else ''}:* "
        f"{_inline(sample['answer']) or '(nothing)'}{'' if sample.get('ended') else ' …'}"
        for place, sample in enumerate(samples)
        if place in shown
    )


def _merged(metrics: Rows) -> list[dict[str, Any]]:
    """One row per iteration: its train numbers and, where the valid set was looked at, its valid loss."""
    by_iteration: dict[int, dict[str, Any]] = {}
    for row in metrics:
        known = {name: value for name, value in row.items() if value is not None}
        by_iteration.setdefault(row["iteration"], {}).update(known)
    return [by_iteration[iteration] for iteration in sorted(by_iteration)]


def _spaced(places: list[int], most: int) -> list[int]:
    """At most `most` of them, evenly spaced, the first and the last among them."""
    if len(places) <= most or most < 1:
        return places[: max(most, 0)]
    step = (len(places) - 1) / max(1, most - 1)
    return sorted({places[round(step * i)] for i in range(most)})


def _inline(text: str) -> str:
    """`text` on one line, cut where it is long, with nothing in it that reads as HTML."""
    return escape(one_line(text, ANSWER_CHARACTERS), quote=False)


def _short(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")
