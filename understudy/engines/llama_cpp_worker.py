"""The process that runs llama.cpp for LlamaCppEngine."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.engines import Job, Result, Row, tokenize, tokenize_prompt
from understudy.engines.answer_cache import AnswerCache, Conversation
from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.records import Completion
from understudy.serving import REPEAT_PENALTY, Sampling
from understudy.serving.gguf import TOKENS_AT_ONCE, Gguf, Unusable
from understudy.worker import serve

if TYPE_CHECKING:
    import llama_cpp

GREEDY = Sampling(temperature=0, repeat_penalty=REPEAT_PENALTY)
SHARED_TOKENS = 256

LOGIT_BYTES = 64 << 20
"""Memory that the logits of one call may take."""


def run(job: Job, progress: Progress) -> Result:
    """Scores of the conversations and completions of the prompts. Raises ExportError that names the file."""
    started_with = peak_memory()
    rows, prompts = tokens(job.model, job.conversations, job.prompts)
    longest = max([len(p) + len(a) for p, a in rows] + [len(p) + job.max_tokens for p in prompts])
    gguf = load(job.model, longest, job.threads)
    # Examples that stand before every question are read once; a short beginning is read each time, so that the wait for
    # the first token is that of a first question.
    shared = common([*prompts, *(prompt for prompt, _ in rows)])
    keep = len(shared) >= SHARED_TOKENS and can_go_back(gguf.llama)
    total, cache = len(prompts) + len(rows), AnswerCache(job.answer_cache, job.cache_key)
    ids = {cache.key(conversation): prompt for conversation, prompt in zip(job.prompts, prompts, strict=True)}

    def generate(batch: list[Conversation]) -> list[Completion]:
        return [write(gguf, ids[cache.key(one)], job.max_tokens, started_with, keep) for one in batch]

    answers = cache.complete(job.prompts, 1, generate, lambda done: progress(done, total, "answering"))
    scores, known = [], read_once(gguf.llama, shared) if keep and rows else 0
    for row in rows:
        scores.append(nats(gguf.llama, row, known))
        progress(len(prompts) + len(scores), total, "scoring")
    return Result(scores=scores, answers=answers)


def load(file: Path, context: int | None = None, threads: int | None = None) -> Gguf:
    """The model in `file`, or without a context its vocabulary. Raises ExportError when llama.cpp does not take it."""
    try:
        return Gguf(file, context, threads)
    except Unusable as error:
        raise ExportError(f"{file.name}: {error}") from None


def can_go_back(model: "llama_cpp.Llama") -> bool:
    """Whether the model can forget the end of what it read: one with recurrent layers cannot."""
    import llama_cpp

    weights = model._model.model
    return not (llama_cpp.llama_model_is_recurrent(weights) or llama_cpp.llama_model_is_hybrid(weights))


def common(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that every prompt begins with, the last token of each left out."""
    first, last = min(prompts), max(prompts)
    count = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return list(first[: max(0, min([count, *(len(prompt) - 1 for prompt in prompts)]))])


def read_once(model: "llama_cpp.Llama", beginning: Sequence[int]) -> int:
    """Read the beginning that all rows share; how many tokens that are."""
    model.reset()
    model._ctx.kv_cache_seq_rm(-1, 0, -1)
    for start in range(0, len(beginning), TOKENS_AT_ONCE):
        model._batch.set_batch(beginning[start : start + TOKENS_AT_ONCE], n_past=start, logits_all=False)
        model._ctx.decode(model._batch)
    return len(beginning)


def nats(model: "llama_cpp.Llama", row: Row, known: int = 0) -> list[float]:
    """-log p of each token of the answer, after everything before it; the first `known` tokens are read already."""
    import numpy as np

    losses: list[float] = []
    for piece in pieces(model, row, at_once(model.n_vocab()), known):
        logits = piece.astype(np.float64)
        ids = np.asarray(row[1][len(losses) : len(losses) + len(logits)])
        top = logits.max(axis=1)
        chosen = logits[np.arange(len(ids)), ids]
        losses += (top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - chosen).tolist()
    return losses


def pieces(model: "llama_cpp.Llama", row: Row, tokens_at_once: int, known: int = 0) -> Iterator[Any]:
    """Float32 logits [tokens, vocabulary] that predict the row's answer, at most `tokens_at_once` at a time.

    A piece is llama.cpp's own memory: it holds until the next one is asked for. Not `Llama.eval`, which
    computes the prompt's logits too and keeps all of them: 0.6 GB for 1,000 tokens of a large vocabulary.
    """
    import numpy as np

    prompt, answer = row
    model.reset()
    model._ctx.kv_cache_seq_rm(-1, known, -1)
    read = prompt + answer[:-1]
    for start, end, with_logits in _spans(len(prompt) - 1, len(read), tokens_at_once, known):
        model._batch.set_batch(read[start:end], n_past=start, logits_all=with_logits)
        model._ctx.decode(model._batch)
        if with_logits:
            yield np.ctypeslib.as_array(model._ctx.get_logits(), shape=(end - start, model.n_vocab()))


def _spans(first: int, count: int, tokens_at_once: int, known: int = 0) -> Iterator[tuple[int, int, bool]]:
    """(from, to, whether its logits are needed) of calls for tokens `known` to `count`; those from `first` on are."""
    yield from ((start, min(start + TOKENS_AT_ONCE, first), False) for start in range(known, first, TOKENS_AT_ONCE))
    yield from ((start, min(start + tokens_at_once, count), True) for start in range(first, count, tokens_at_once))


def at_once(vocabulary: int) -> int:
    """Tokens per call whose logits fit LOGIT_BYTES."""
    return max(1, min(TOKENS_AT_ONCE, LOGIT_BYTES // (4 * vocabulary)))


def write(gguf: Gguf, prompt: list[int], max_tokens: int, started_with: int = 0, keep: bool = False) -> Completion:
    """What follows `prompt` greedily, up to an end token or `max_tokens`; `keep` what it shares with the one before."""
    if not keep:
        gguf.llama.reset()
    began, tokens, stopped, first = time.perf_counter(), list[int](), False, 0.0
    for token in gguf.generate(prompt, GREEDY):
        first = first or time.perf_counter() - began
        tokens.append(token)
        stopped = gguf.is_end(token)
        if stopped or len(tokens) == max_tokens:
            break
    seconds, shown = time.perf_counter() - began, tokens[: len(tokens) - stopped]
    return Completion(
        text=b"".join(map(gguf.piece, shown)).decode("utf-8", errors="replace").strip(),
        new_tokens=len(tokens),
        stopped=stopped,
        seconds=seconds,
        first_token_seconds=first,
        prompt_tokens=len(prompt),
        prompt_seconds=first,
        peak_memory_bytes=max(0, peak_memory() - started_with),
    )


def peak_memory() -> int:
    """The most memory this process has held, in bytes.

    On Linux not from getrusage: what it reports begins with the most its parent held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def tokens(
    path: Path, conversations: list[Conversation], prompts: list[Conversation]
) -> tuple[list[Row], list[list[int]]]:
    """Tokens of conversations and of prompts by the template and vocabulary in the file; no weights are read."""
    gguf = load(path)
    try:
        return (
            [tokenize(messages, gguf.render, gguf.tokens, gguf.is_end) for messages in conversations],
            [tokenize_prompt(messages, gguf.render, gguf.tokens) for messages in prompts],
        )
    except (Unusable, ValueError) as error:
        raise ExportError(f"{path.name}: {error}") from None


if __name__ == "__main__":
    serve(Job, run)
