"""The process that runs llama.cpp for LlamaCppEngine."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.engines import tokenise
from understudy.interfaces import Report
from understudy.worker import serve

if TYPE_CHECKING:
    import llama_cpp

TOKENS_AT_ONCE = 256
"""Tokens per call of llama.cpp: its own copy of the logits is this many rows of the vocabulary."""

Row = tuple[list[int], list[int]]
"""Tokens of the prompt, tokens of the reference answer."""


class Refused(Exception):
    """The file cannot be scored; the message says why and names it."""


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Scores of all conversations and answers to the first ones, or why the file is refused."""
    path, threads = Path(job["model"]), job["threads"] or os.cpu_count() or 2
    total = len(job["conversations"]) + job["answers"]
    try:
        rows = _rows(path, job["conversations"])
        asked = rows[: job["answers"]]
        context = max([len(p) + len(a) for p, a in rows] + [len(p) + job["max_tokens"] for p, _ in asked])
        model = load(path, n_ctx=context, n_batch=TOKENS_AT_ONCE, n_threads=threads, logits_all=True)
    except Refused as reason:
        return {"refused": str(reason)}
    scores, answers = [], []
    for prompt, answer in rows:
        scores.append((nats(model, prompt, answer), len(answer)))
        report(len(scores), total, "scoring")
    for prompt, _ in asked:
        answers.append(write(model, prompt, job["max_tokens"]))
        report(len(scores) + len(answers), total, "answering")
    return {"scores": scores, "answers": answers}


def load(path: Path, **settings: Any) -> "llama_cpp.Llama":
    """The model in `path`. Raises Refused when llama.cpp does not take the file."""
    import llama_cpp

    if not path.is_file():
        raise Refused(f"{path.name}: no such file: {path}")
    try:
        return llama_cpp.Llama(str(path), verbose=False, **settings)
    except ValueError as error:  # the only thing the binding raises: a file it could not open, read or map
        size = f"{path.stat().st_size:,} bytes"
        raise Refused(
            f"{path.name}: llama.cpp cannot load it ({error}); it has {size}: cut short? Make it again"
        ) from None


def nats(model: "llama_cpp.Llama", prompt: list[int], answer: list[int]) -> float:
    """Sum of -log p over the answer's tokens, each after everything before it."""
    import numpy as np

    model.reset()
    model.eval(prompt + answer[:-1])
    first, total = len(prompt) - 1, 0.0
    for start in range(0, len(answer), TOKENS_AT_ONCE):  # in pieces: float64 doubles what they take
        ids = np.asarray(answer[start : start + TOKENS_AT_ONCE])
        logits = model.scores[first + start : first + start + len(ids)].astype(np.float64)
        top = logits.max(axis=1)
        chosen = logits[np.arange(len(ids)), ids]
        total += float((top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - chosen).sum())
    return total


def write(model: "llama_cpp.Llama", prompt: list[int], max_tokens: int) -> dict[str, Any]:
    """What follows `prompt` greedily, up to an end token or `max_tokens`, as fields of Sample."""
    began, tokens, stopped = time.perf_counter(), [], False
    for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
        tokens.append(token)
        stopped = is_end(model, token)
        if stopped or len(tokens) == max_tokens:
            break
    shown = tokens[: len(tokens) - stopped]
    text = b"".join(piece(model, token) for token in shown).decode("utf-8", errors="replace").strip()
    return {"text": text, "new_tokens": len(tokens), "stopped": stopped, "seconds": time.perf_counter() - began}


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


def _rows(path: Path, conversations: list[list[dict[str, str]]]) -> list[Row]:
    """Tokens of every conversation by the template and vocabulary in the file, whose weights are not read yet."""
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    vocabulary = load(path, vocab_only=True)
    template = vocabulary.metadata.get("tokenizer.chat_template")
    if template is None:
        raise Refused(f"{path.name}: holds no chat template, so programs would prompt it unlike it was trained")
    eos, bos = (piece(vocabulary, token).decode() for token in (vocabulary.token_eos(), vocabulary.token_bos()))
    formatters = {
        prompt: Jinja2ChatFormatter(template, eos, bos, add_generation_prompt=prompt) for prompt in (True, False)
    }

    def render(turns: list[dict[str, str]], prompt: bool) -> str:
        return formatters[prompt](messages=turns, enable_thinking=False).prompt  # type: ignore[arg-type]

    def encode(text: str) -> list[int]:
        return vocabulary.tokenize(text.encode(), add_bos=False, special=True)  # the template writes the start token

    try:
        return [
            tokenise(messages, render, encode, lambda token: is_end(vocabulary, token)) for messages in conversations
        ]
    except ValueError as error:
        raise Refused(f"{path.name}: {error}") from None


if __name__ == "__main__":
    serve(run)
