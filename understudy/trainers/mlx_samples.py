"""
The same few prompts, answered at evaluations: what the losses mean, to be read.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mlx import nn
from mlx_lm.generate import BatchGenerator

from understudy.trainers.chat_rows import PROMPTS, ChatTokenizer, Row


def sampler(
    model: nn.Module,
    tokenizer: ChatTokenizer,
    rows: Sequence[Row],
    questions: Sequence[str],
    ends: set[int],
    limit: int,
) -> Callable[[], list[dict[str, Any]]]:
    """A function that answers three prompts spread over `rows`, greedily, in at most `limit` tokens each."""
    places = sorted({place * len(rows) // PROMPTS for place in range(PROMPTS)}) if rows and limit else []

    def sample() -> list[dict[str, Any]]:
        model.eval()
        answers = _answers(model, [rows[place] for place in places], ends, limit) if places else []
        return [
            {"question": questions[place], "answer": tokenizer.decode(answer), "tokens": len(answer), "ended": ended}
            for place, (answer, ended) in zip(places, answers, strict=True)
        ]

    return sample


def _answers(model: nn.Module, rows: Sequence[Row], ends: set[int], limit: int) -> list[tuple[list[int], bool]]:
    """The most likely tokens after the prompts of `rows`, taken together, and whether each came to an end."""
    generator = BatchGenerator(model, stop_tokens=[[token] for token in sorted(ends)])
    try:
        places = generator.insert([row.tokens[: row.offset] for row in rows], [limit] * len(rows))
        answers: dict[int, list[int]] = {place: [] for place in places}
        ended = dict.fromkeys(places, False)
        while responses := generator.next_generated():
            for response in responses:
                ended[response.uid] = response.finish_reason == "stop"
                if not ended[response.uid]:
                    answers[response.uid].append(response.token)
    finally:
        generator.close()
    return [(answers[place], ended[place]) for place in places]
