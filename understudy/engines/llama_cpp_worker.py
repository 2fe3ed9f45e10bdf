"""The process that runs llama.cpp for LlamaCppEngine."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.engines import Job, Render, Result, Row, tokenize, tokenize_prompt
from understudy.engines.answer_cache import AnswerCache, Conversation
from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.records import Completion
from understudy.text.thinking import TEMPLATE_ARGUMENTS
from understudy.worker import serve_typed

if TYPE_CHECKING:
    import llama_cpp

TOKENS_AT_ONCE = 256
"""Tokens per call of llama.cpp, at most."""

TINY_BYTES = 32 << 20
"""Of a file; at 2 MB and 2 busy cores a second thread cost twice the processor time and gained none."""

LOGIT_BYTES = 64 << 20
"""Memory that the logits of one call may take."""


def run(job: Job, progress: Progress) -> Result:
    """Scores of the conversations and completions of the prompts. Raises ExportError that names the file."""
    started_with = peak_memory()
    rows, prompts = tokens(job.model, job.conversations, job.prompts)
    longest = max([len(p) + len(a) for p, a in rows] + [len(p) + job.max_tokens for p in prompts])
    model = load(job.model, job.threads or usual_threads(job.model), n_ctx=longest, n_batch=TOKENS_AT_ONCE)
    total, cache = len(prompts) + len(rows), AnswerCache(job.answer_cache, job.cache_key)
    ids = {cache.key(conversation): prompt for conversation, prompt in zip(job.prompts, prompts, strict=True)}

    def generate(batch: list[Conversation]) -> list[Completion]:
        return [write(model, ids[cache.key(one)], job.max_tokens, started_with) for one in batch]

    answers = cache.complete(job.prompts, 1, generate, lambda done: progress(done, total, "answering"))
    scores = []
    for row in rows:
        scores.append(nats(model, row))
        progress(len(prompts) + len(scores), total, "scoring")
    return Result(scores=scores, answers=answers)


def usual_threads(path: Path) -> int:
    """One for a tiny file, whose threads would mostly wait for each other, else one per core we may use."""
    if path.is_file() and path.stat().st_size < TINY_BYTES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


def load(path: Path, threads: int = 1, **settings: Any) -> "llama_cpp.Llama":
    """The model in `path`. Raises ExportError when llama.cpp does not take the file."""
    import llama_cpp

    if not path.is_file():
        raise ExportError(f"{path.name}: no such file: {path}")
    try:
        return llama_cpp.Llama(str(path), verbose=False, n_threads=threads, n_threads_batch=threads, **settings)
    except ValueError as error:  # the only thing the binding raises: a file it could not open, read or map
        size = f"{path.stat().st_size:,} bytes"
        raise ExportError(
            f"{path.name}: llama.cpp cannot load it ({error}); it has {size}: cut short? Make it again"
        ) from None


def nats(model: "llama_cpp.Llama", row: Row) -> list[float]:
    """-log p of each token of the answer, after everything before it."""
    import numpy as np

    found: list[float] = []
    for piece in pieces(model, row, at_once(model.n_vocab())):
        logits = piece.astype(np.float64)
        ids = np.asarray(row[1][len(found) : len(found) + len(logits)])
        top = logits.max(axis=1)
        chosen = logits[np.arange(len(ids)), ids]
        found += (top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - chosen).tolist()
    return found


def pieces(model: "llama_cpp.Llama", row: Row, tokens_at_once: int) -> Iterator[Any]:
    """Float32 logits [tokens, vocabulary] that predict the row's answer, at most `tokens_at_once` at a time.

    A piece is llama.cpp's own memory: it holds until the next one is asked for. Not `Llama.eval`, which
    computes the prompt's logits too and keeps all of them: 0.6 GB for 1,000 tokens of a large vocabulary.
    """
    import numpy as np

    prompt, answer = row
    model.reset()
    model._ctx.kv_cache_seq_rm(-1, 0, -1)
    read = prompt + answer[:-1]
    for start, end, wanted in _spans(len(prompt) - 1, len(read), tokens_at_once):
        model._batch.set_batch(read[start:end], n_past=start, logits_all=wanted)
        model._ctx.decode(model._batch)
        if wanted:
            yield np.ctypeslib.as_array(model._ctx.get_logits(), shape=(end - start, model.n_vocab()))


def _spans(first: int, count: int, tokens_at_once: int) -> Iterator[tuple[int, int, bool]]:
    """(from, to, whether logits are wanted) of calls for `count` tokens, of which those from `first` on matter."""
    yield from ((start, min(start + TOKENS_AT_ONCE, first), False) for start in range(0, first, TOKENS_AT_ONCE))
    yield from ((start, min(start + tokens_at_once, count), True) for start in range(first, count, tokens_at_once))


def at_once(vocabulary: int) -> int:
    """Tokens per call whose logits fit LOGIT_BYTES."""
    return max(1, min(TOKENS_AT_ONCE, LOGIT_BYTES // (4 * vocabulary)))


def write(model: "llama_cpp.Llama", prompt: list[int], max_tokens: int, started_with: int = 0) -> Completion:
    """What follows `prompt` greedily, up to an end token or `max_tokens`."""
    model.reset()  # a prefix left from the question before would make the wait for the first token look short
    began, tokens, stopped, first = time.perf_counter(), [], False, 0.0
    for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
        first = first or time.perf_counter() - began
        tokens.append(token)
        stopped = is_end(model, token)
        if stopped or len(tokens) == max_tokens:
            break
    seconds, shown = time.perf_counter() - began, tokens[: len(tokens) - stopped]
    return Completion(
        text=b"".join(piece(model, token) for token in shown).decode("utf-8", errors="replace").strip(),
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

    On Linux not from getrusage: what it tells begins with the most its parent held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_end(model: "llama_cpp.Llama", token: int) -> bool:
    """True for every token the file marks as an end: of turn, of text."""
    import llama_cpp

    return bool(llama_cpp.llama_vocab_is_eog(llama_cpp.llama_model_get_vocab(model.model), token))


def piece(model: "llama_cpp.Llama", token: int) -> bytes:
    """The bytes of one token, control tokens spelled out; b'' for -1, no token.

    Not `Llama.detokenize`: of llama-cpp-python 0.3.36 it drops tokens of more than 32 bytes, such as long rules.
    """
    import ctypes

    import llama_cpp

    if token == -1:
        return b""
    vocabulary, size = llama_cpp.llama_model_get_vocab(model.model), 32
    while True:
        buffer = (ctypes.c_char * size)()
        written = llama_cpp.llama_token_to_piece(vocabulary, token, buffer, size, 0, True)
        if written >= 0:
            return buffer.raw[:written]
        size = -written


def tokens(
    path: Path, conversations: list[Conversation], prompts: list[Conversation]
) -> tuple[list[Row], list[list[int]]]:
    """Tokens of conversations and of prompts by the template and vocabulary in the file; no weights are read."""
    vocabulary = load(path, vocab_only=True)
    render = _template(path, vocabulary)

    def encode(text: str) -> list[int]:
        # No start token: the template writes it.
        return list(vocabulary.tokenize(text.encode(), add_bos=False, special=True))

    try:
        return (
            [tokenize(messages, render, encode, lambda token: is_end(vocabulary, token)) for messages in conversations],
            [tokenize_prompt(messages, render, encode) for messages in prompts],
        )
    except ValueError as error:
        raise ExportError(f"{path.name}: {error}") from None
    finally:
        vocabulary.close()


def _template(path: Path, vocabulary: "llama_cpp.Llama") -> Render:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    template = vocabulary.metadata.get("tokenizer.chat_template")
    if template is None:
        raise ExportError(f"{path.name}: holds no chat template, so programs would prompt it unlike it was trained")
    eos, bos = (piece(vocabulary, token).decode() for token in (vocabulary.token_eos(), vocabulary.token_bos()))
    formatters = {
        prompt: Jinja2ChatFormatter(template, eos, bos, add_generation_prompt=prompt) for prompt in (True, False)
    }
    return lambda turns, prompt: str(formatters[prompt](messages=turns, **TEMPLATE_ARGUMENTS).prompt)  # type: ignore[arg-type]


if __name__ == "__main__":
    serve_typed(Job, run)
