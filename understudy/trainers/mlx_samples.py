"""
The same few prompts, answered again at each evaluation: what the losses mean, to be read.
"""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.generate import generate_step

from understudy.trainers.mlx_rows import ChatTokenizer, Row

PROMPTS = 3


def sampler(
    model: nn.Module,
    tokenizer: ChatTokenizer,
    rows: Sequence[Row],
    questions: Sequence[str],
    ends: set[int],
    limit: int,
) -> Callable[[], list[dict[str, Any]]]:
    """A function that answers three prompts spread over `rows`, greedily, in at most `limit` tokens each."""
    chosen = sorted({place * len(rows) // PROMPTS for place in range(PROMPTS)}) if rows and limit else []

    def sample() -> list[dict[str, Any]]:
        model.eval()
        answers = []
        for place in chosen:
            answer, ended = _answer(model, rows[place], ends, limit)
            text = tokenizer.decode(answer)
            answers.append({"question": questions[place], "answer": text, "tokens": len(answer), "ended": ended})
        return answers

    return sample


def _answer(model: nn.Module, row: Row, ends: set[int], limit: int) -> tuple[list[int], bool]:
    """The most likely tokens after the prompt of `row`, and whether they came to an end."""
    answer: list[int] = []
    for token, _ in generate_step(mx.array(row.tokens[: row.offset]), model, max_tokens=limit):
        if int(token) in ends:
            return answer, True
        answer.append(int(token))
    return answer, False
