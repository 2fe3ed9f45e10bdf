"""The same few prompts, answered at evaluations by transformers' own generation."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from understudy.trainers.chat_rows import PROMPTS, ChatTokenizer, Row
from understudy.trainers.torch_head import Student


def sampler(
    student: Student,
    tokenizer: ChatTokenizer,
    rows: Sequence[Row],
    questions: Sequence[str],
    ends: set[int],
    limit: int,
) -> Callable[[], list[dict[str, Any]]]:
    """A function that answers three prompts spread over `rows`, greedily, in at most `limit` tokens each."""
    places = sorted({place * len(rows) // PROMPTS for place in range(PROMPTS)}) if rows and limit else []

    def sample() -> list[dict[str, Any]]:
        student.eval()
        answers = _answers(student, [rows[place].tokens[: rows[place].offset] for place in places], ends, limit)
        return [
            {"question": questions[place], "answer": tokenizer.decode(answer), "tokens": len(answer), "ended": ended}
            for place, (answer, ended) in zip(places, answers, strict=True)
        ]

    return sample


def _answers(student: Student, prompts: list[list[int]], ends: set[int], limit: int) -> list[tuple[list[int], bool]]:
    """The most likely tokens after the prompts, taken together, and whether each came to an end."""
    if not prompts:
        return []
    width, padding = max(map(len, prompts)), min(ends)
    tokens = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    how = GenerationConfig(do_sample=False, max_new_tokens=limit, eos_token_id=sorted(ends), pad_token_id=padding)
    device = student.numbers.device
    with torch.no_grad(), student.numbers.precision():
        written = student.model.generate(
            input_ids=tokens.to(device), attention_mask=mask.to(device), generation_config=how
        )
    return [_until_end(answer, ends) for answer in written[:, width:].tolist()]


def _until_end(answer: list[int], ends: set[int]) -> tuple[list[int], bool]:
    end = next((place for place, token in enumerate(answer) if token in ends), None)
    return (answer, False) if end is None else (answer[:end], True)
