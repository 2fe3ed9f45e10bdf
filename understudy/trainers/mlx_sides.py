"""
The two sides of a dataset as training sees them: rows short enough, in tokens, and what is counted of them.
"""

from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import DatasetError
from understudy.trainers import mlx_rows
from understudy.trainers.plan import Plan


class Side(NamedTuple):
    """Train or valid: the rows that are short enough, what they ask, and how many are too long."""

    rows: list[mlx_rows.Row]
    questions: list[str]
    dropped: int


def read_side(name: str, job: dict[str, Any], tokenizer: Any) -> Side:
    """The rows of one side; those over the limit are listed in dropped.jsonl. Raises DatasetError."""
    limit = job["options"]["max_seq_length"]
    examples = mlx_rows.read(Path(job[name]))
    rows = [mlx_rows.encode(example, tokenizer, tokenizer.eos_token_ids) for example in examples]
    kept, dropped = mlx_rows.within(rows, limit)
    if dropped:
        mlx_rows.list_dropped(Path(job["out"]) / "dropped.jsonl", name, rows, dropped, limit)
    questions = [example.messages[-2].content for example, row in zip(examples, rows) if len(row.tokens) <= limit]
    return Side(kept, questions, len(dropped))


def batches_of(side: Side, options: dict[str, Any]) -> list[int]:
    """Where the batches of an epoch end. Raises DatasetError when there is none."""
    if not side.rows:
        why = f"each of its {side.dropped} rows is over max_seq_length ({options['max_seq_length']} tokens)"
        todo = (
            "see dropped.jsonl for their lengths and raise it" if side.dropped else "let more pairs through the gates"
        )
        raise DatasetError(f"train.jsonl has no row to train on: {why if side.dropped else 'it is empty'}; {todo}")
    return mlx_rows.edges(side.rows, options["batch_size"], options["batch_tokens"])


def counted(sides: list[Side], ends: list[int], plan: Plan, options: dict[str, Any]) -> dict[str, Any]:
    """The numbers of rows, tokens, batches and steps, as plan.json and the card have them."""
    train_side, valid_side = sides
    return {
        "train_rows": len(train_side.rows),
        "train_dropped": train_side.dropped,
        "valid_rows": len(valid_side.rows),
        "valid_dropped": valid_side.dropped,
        "answer_tokens": sum(len(row.tokens) - row.offset for row in train_side.rows),
        "longest_row": max(len(row.tokens) for row in train_side.rows),
        "padding_share": round(mlx_rows.padding_share(train_side.rows, ends), 6),
        "planned_steps": plan.steps,
        "iterations_per_epoch": plan.iterations_per_epoch,
        "steps_per_evaluation": plan.steps_per_evaluation,
        "planned_epochs": round(plan.iterations / plan.iterations_per_epoch, 3),
    }
