"""Greedy completions in mlx, a batch at a time."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from understudy.records import Completion
from understudy.serving import REPEAT_PENALTY, REPEAT_TOKENS

if TYPE_CHECKING:
    import mlx.core
    import mlx.nn
    from mlx_lm.tokenizer_utils import TokenizerWrapper


def write(
    model: "mlx.nn.Module", tokenizer: "TokenizerWrapper", prompts: list[list[int]], max_tokens: int
) -> list[Completion]:
    """What follows each prompt, up to an end token or `max_tokens`.

    Greedy, as mlx-lm's batches are by default, with the usual penalty of repetitions. The batch's time is shared out by
    tokens.
    """
    import mlx.core as mx

    mx.clear_cache()
    mx.reset_peak_memory()
    began = time.perf_counter()
    written, first = _batch(model, tokenizer, prompts, max_tokens, began)
    rest = time.perf_counter() - began - first
    prompt_tokens, new_tokens = sum(map(len, prompts)), sum(len(tokens) for tokens, _ in written)
    peak = mx.get_peak_memory()
    return [
        Completion(
            text=_text(tokenizer, tokens[: len(tokens) - stopped]),
            new_tokens=len(tokens),
            stopped=stopped,
            seconds=first * len(prompt) / prompt_tokens + rest * len(tokens) / new_tokens,
            first_token_seconds=first,
            prompt_tokens=len(prompt),
            prompt_seconds=first * len(prompt) / prompt_tokens,
            peak_memory_bytes=peak,
        )
        for prompt, (tokens, stopped) in zip(prompts, written, strict=True)
    ]


def _batch(
    model: "mlx.nn.Module", tokenizer: "TokenizerWrapper", prompts: list[list[int]], max_tokens: int, began: float
) -> tuple[list[tuple[list[int], bool]], float]:
    """(tokens, end token included; whether it came) per prompt, and the seconds to the first tokens."""
    from mlx_lm.generate import BatchGenerator

    stops = [[token] for token in tokenizer.eos_token_ids]
    generator = BatchGenerator(
        model, stop_tokens=stops, completion_batch_size=len(prompts), prefill_batch_size=len(prompts)
    )
    first = 0.0
    try:
        penalties = [[_penalty(len(prompt))] for prompt in prompts]
        uids = generator.insert(prompts, [max_tokens] * len(prompts), logits_processors=penalties)
        places = {uid: place for place, uid in enumerate(uids)}
        tokens: list[list[int]] = [[] for _ in prompts]
        stopped: dict[int, bool] = {}
        while responses := generator.next_generated():
            first = first or time.perf_counter() - began
            for response in responses:
                tokens[places[response.uid]].append(int(response.token))
                if response.finish_reason is not None:
                    stopped[places[response.uid]] = response.finish_reason == "stop"
    finally:
        generator.close()
    return [(tokens[place], stopped[place]) for place in range(len(prompts))], first


def _penalty(prompt_tokens: int) -> Callable[["mlx.core.array", "mlx.core.array"], "mlx.core.array"]:
    """The penalty of what the answer has already; mlx-lm's own counts the prompt too, and llama.cpp's does not."""
    from mlx_lm.sample_utils import make_repetition_penalty

    penalty = make_repetition_penalty(REPEAT_PENALTY, REPEAT_TOKENS)

    def process(tokens: "mlx.core.array", logits: "mlx.core.array") -> "mlx.core.array":
        lowered: mlx.core.array = penalty(tokens[prompt_tokens:], logits)
        return lowered

    return process


def _text(tokenizer: "TokenizerWrapper", tokens: list[int]) -> str:
    # Control tokens stay visible: leaking them is a fault the scorecard counts.
    return str(tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)).strip()
