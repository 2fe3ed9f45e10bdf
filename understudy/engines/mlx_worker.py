"""The process that runs mlx-lm for MlxEngine."""

import time
from typing import TYPE_CHECKING, Any

from understudy.engines import tokenise
from understudy.interfaces import Report
from understudy.worker import serve

if TYPE_CHECKING:
    import mlx.nn
    from mlx_lm.tokenizer_utils import TokenizerWrapper

LOGIT_BYTES = 512 << 20
"""Memory the float32 logits of one scored batch may take, and as much again while they are normalised."""

Row = tuple[list[int], list[int]]
"""Tokens of the prompt, tokens of the reference answer."""


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Scores of all conversations, answers to the first ones."""
    import mlx.core as mx
    import mlx_lm

    # Greedy decoding draws nothing; the seed is for models that would.
    mx.random.seed(0)
    model, tokenizer, config = mlx_lm.load(job["model"], adapter_path=job["adapter"], return_config=True)
    if mx.default_device() == mx.Device(mx.cpu):
        model.set_dtype(mx.float32)  # bfloat16 gains nothing on a CPU and costs precision
    model.eval()
    rows = [_tokens(tokenizer, messages) for messages in job["conversations"]]
    total = len(rows) + job["answers"]
    vocabulary = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or len(tokenizer.vocab)
    scores = score(model, rows, job["batch_rows"], vocabulary, lambda done: report(done, total, "scoring"))
    prompts = [prompt for prompt, _ in rows[: job["answers"]]]
    answers = generate(
        model,
        tokenizer,
        prompts,
        job["max_tokens"],
        job["batch_rows"],
        lambda done: report(len(rows) + done, total, "answering"),
    )
    return {"scores": scores, "answers": answers}


def score(
    model: "mlx.nn.Module", rows: list[Row], batch_rows: int, vocabulary: int, finished: Any
) -> list[tuple[float, int]]:
    """(nats, tokens) of each row's answer, in the order of `rows`; longest batches hold the fewest rows."""
    scores: dict[int, tuple[float, int]] = {}
    for batch in batches([len(prompt) + len(answer) for prompt, answer in rows], batch_rows, vocabulary):
        nats = _nats(model, [rows[place] for place in batch])
        scores |= {place: (nll, len(rows[place][1])) for place, nll in zip(batch, nats, strict=True)}
        finished(len(scores))
    return [scores[place] for place in range(len(rows))]


def batches(lengths: list[int], batch_rows: int, vocabulary: int) -> list[list[int]]:
    """Places of rows of like length, so that padding is small and the logits fit LOGIT_BYTES."""
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda p: lengths[p]):
        room = min(batch_rows, LOGIT_BYTES // (4 * vocabulary * lengths[place]))
        if found and len(found[-1]) < room:
            found[-1].append(place)  # the longest so far, so all of them fit
        else:
            found.append([place])
    return found


def generate(
    model: "mlx.nn.Module",
    tokenizer: "TokenizerWrapper",
    prompts: list[list[int]],
    max_tokens: int,
    batch_rows: int,
    finished: Any,
) -> list[dict[str, Any]]:
    """What follows each prompt greedily, up to an end token or `max_tokens`, as fields of Sample."""
    answers: list[dict[str, Any]] = []
    for start in range(0, len(prompts), batch_rows):
        batch, began = prompts[start : start + batch_rows], time.perf_counter()
        written = _write(model, tokenizer, batch, max_tokens, lambda done, start=start: finished(start + done))
        seconds = (time.perf_counter() - began) / sum(len(tokens) for tokens, _ in written)
        answers += [
            {
                "text": _text(tokenizer, tokens[: len(tokens) - stopped]),
                "new_tokens": len(tokens),
                "stopped": stopped,
                "seconds": seconds * len(tokens),
            }
            for tokens, stopped in written
        ]
    return answers


def _tokens(tokenizer: "TokenizerWrapper", messages: list[dict[str, str]]) -> Row:
    def render(turns: list[dict[str, str]], prompt: bool) -> str:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt, enable_thinking=False)
        return str(text)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return tokenise(messages, render, encode, lambda token: token in tokenizer.eos_token_ids)


def _nats(model: "mlx.nn.Module", rows: list[Row]) -> list[float]:
    """Sum of -log p over each row's answer tokens. Padding stands on the right, where no answer sees it."""
    import mlx.core as mx

    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = mx.array([prompt + answer + [0] * (width - len(prompt) - len(answer)) for prompt, answer in rows])
    places = mx.arange(1, width)
    first = mx.array([[len(prompt)] for prompt, _ in rows])
    end = mx.array([[len(prompt) + len(answer)] for prompt, answer in rows])
    logits = model(tokens[:, :-1]).astype(mx.float32)
    chosen = mx.take_along_axis(logits, tokens[:, 1:, None], axis=-1).squeeze(-1)
    nats = mx.where((places >= first) & (places < end), mx.logsumexp(logits, axis=-1) - chosen, 0.0)
    return [nats_of_row.sum().item() for nats_of_row in nats]


def _write(
    model: "mlx.nn.Module", tokenizer: "TokenizerWrapper", prompts: list[list[int]], max_tokens: int, finished: Any
) -> list[tuple[list[int], bool]]:
    """(tokens, end token included; whether it came) per prompt. mlx-lm's batches are greedy by default."""
    from mlx_lm.generate import BatchGenerator

    stops = [[token] for token in tokenizer.eos_token_ids]
    generator = BatchGenerator(
        model, stop_tokens=stops, completion_batch_size=len(prompts), prefill_batch_size=len(prompts)
    )
    try:
        places = {uid: place for place, uid in enumerate(generator.insert(prompts, [max_tokens] * len(prompts)))}
        tokens: list[list[int]] = [[] for _ in prompts]
        stopped: dict[int, bool] = {}
        while responses := generator.next_generated():
            for response in responses:
                tokens[places[response.uid]].append(int(response.token))
                if response.finish_reason is not None:
                    stopped[places[response.uid]] = response.finish_reason == "stop"
                    finished(len(stopped))
    finally:
        generator.close()
    return [(tokens[place], stopped[place]) for place in range(len(prompts))]


def _text(tokenizer: "TokenizerWrapper", tokens: list[int]) -> str:
    # Control tokens stay visible: leaking them is a fault the scorecard counts.
    return str(tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)).strip()


if __name__ == "__main__":
    serve(run)
