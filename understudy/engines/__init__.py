"""
Engines: what runs a model file. This page is what they share, so that their numbers compare.

Each engine is a worker process around one library. The worker answers in plain data, one entry
per row, and turns a conversation into tokens by `tokenise`: same messages, same template, same ids.
What it generates it keeps at once (`kept`), so that a kill loses no more than the batch in flight.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.records import ChatExample, Completion, Divergence, Message, Pair, Sample
from understudy.worker import call

Render = Callable[[list[dict[str, str]], bool], str]
"""(messages, whether to add the generation prompt) > text, thinking off where the template knows it."""

Row = tuple[list[int], list[int]]
"""Tokens of the prompt, tokens of the reference answer."""

OPENING_TOKENS = 20
"""The opening manner shows in so many tokens of an answer."""


class Refused(Exception):
    """The model cannot be scored; the message says why and names it."""


class WorkerEngine:
    """An engine whose work is done by the process `worker`; a subclass says what that process is told."""

    worker: ClassVar[str]

    def run(
        self,
        model: Path,
        adapter: Path | None,
        rows: Sequence[tuple[Pair, ChatExample]],
        answers: int,
        max_tokens: int,
        progress: Progress,
    ) -> list[Sample]:
        """Score every row and write the first `answers` answers. Raises ExportError, WorkerFailed.

        `seconds` of an answer is its part of its batch's time, by tokens: they add up to the wall clock.
        """
        return run_in_worker(self.worker, self.job(model, adapter, max_tokens), rows, answers, progress)

    def complete(
        self,
        model: Path,
        adapter: Path | None,
        conversations: Sequence[Sequence[Message]],
        max_tokens: int,
        progress: Progress,
    ) -> list[Completion]:
        """What follows each conversation. Raises ExportError, WorkerFailed."""
        return complete_in_worker(self.worker, self.job(model, adapter, max_tokens), conversations, progress)

    def likelihoods(
        self,
        model: Path,
        adapter: Path | None,
        choices: Sequence[tuple[Sequence[Message], Sequence[str]]],
        progress: Progress,
    ) -> list[list[float]]:
        """The sum of log p of each candidate answer. Raises ExportError, WorkerFailed."""
        return likelihoods_in_worker(self.worker, self.job(model, adapter, 1), choices, progress)

    def divergence(
        self, model: Path, adapter: Path, conversations: Sequence[Sequence[Message]], progress: Progress
    ) -> list[Divergence]:
        """Exact KL(tuned || base): the same weights, the adapter's scale on and off. Raises ExportError."""
        return divergence_in_worker(self.worker, self.job(model, adapter, 1), conversations, progress)

    def job(self, model: Path, adapter: Path | None, max_tokens: int) -> dict[str, Any]:
        """What the worker is told of the model and of how to run it. Raises ConfigError."""
        raise NotImplementedError


def run_in_worker(
    module: str, job: dict[str, Any], rows: Sequence[tuple[Pair, ChatExample]], answers: int, progress: Progress
) -> list[Sample]:
    """One Sample per row, with an answer for the first `answers`. Raises ExportError, WorkerFailed.

    The worker returns `scores`, the nats of every answer token per row, and `answers`, Completions.
    """
    if not rows:
        return []
    conversations = [[message.model_dump() for message in example.messages] for _, example in rows]
    asked = [messages[:-1] for messages in conversations[: min(answers, len(rows))]]
    result = _ask(module, job | {"action": "run", "conversations": conversations, "asked": asked}, progress)
    losses = [loss_parts(nats) for nats in result["scores"]]
    broken = [pair.pair_id for (pair, _), parts in zip(rows, losses, strict=True) if not math.isfinite(parts["nll"])]
    if broken:
        raise ExportError(f"{job['model']}: no finite loss for {len(broken)} of {len(rows)} rows, first {broken[0]}")
    said = result["answers"] + [{}] * (len(rows) - len(asked))
    return [
        Sample(pair_id=pair.pair_id, document_id=pair.document_id, **parts, **answer)
        for (pair, _), parts, answer in zip(rows, losses, said, strict=True)
    ]


def complete_in_worker(
    module: str, job: dict[str, Any], conversations: Sequence[Sequence[Message]], progress: Progress
) -> list[Completion]:
    """A Completion per conversation. Raises ExportError, WorkerFailed."""
    if not conversations:
        return []
    result = _ask(module, job | {"action": "complete", "asked": _plain(conversations)}, progress)
    return [Completion.model_validate(answer) for answer in result["answers"]]


def likelihoods_in_worker(
    module: str, job: dict[str, Any], choices: Sequence[tuple[Sequence[Message], Sequence[str]]], progress: Progress
) -> list[list[float]]:
    """The sum of log p per candidate answer, its end token left out. Raises ExportError, WorkerFailed."""
    flat = [
        [*_plain([conversation])[0], {"role": "assistant", "content": answer}]
        for conversation, answers in choices
        for answer in answers
    ]
    if not flat:
        return [[] for _ in choices]
    result = _ask(module, job | {"action": "likelihoods", "conversations": flat}, progress)
    sums = iter(-sum(nats[:-1]) for nats in result["scores"])
    found = [[next(sums) for _ in answers] for _, answers in choices]
    if not all(math.isfinite(one) for row in found for one in row):
        raise ExportError(f"{job['model']}: likelihoods that are no numbers")
    return found


def divergence_in_worker(
    module: str, job: dict[str, Any], conversations: Sequence[Sequence[Message]], progress: Progress
) -> list[Divergence]:
    """KL(tuned || base) over the answer each conversation ends with. Raises ExportError, WorkerFailed."""
    if not conversations:
        return []
    result = _ask(module, job | {"action": "divergence", "conversations": _plain(conversations)}, progress)
    if not all(math.isfinite(nats) for nats, _ in result["divergences"]):
        raise ExportError(f"{job['adapter']}: its divergence from the base is no number")
    return [Divergence(nats=nats, tokens=tokens) for nats, tokens in result["divergences"]]


def loss_parts(nats: Sequence[float]) -> dict[str, Any]:
    """The loss of one answer, whole and in parts, as fields of Sample; the last token is the end token."""
    words, end = nats[:-1], nats[-1]
    opening, body = words[:OPENING_TOKENS], words[OPENING_TOKENS:]
    return {
        "nll": sum(nats),
        "tokens": len(nats),
        "opening_nll": sum(opening),
        "opening_tokens": len(opening),
        "body_nll": sum(body),
        "body_tokens": len(body),
        "end_nll": end,
    }


def ask_prompt(messages: list[dict[str, str]], render: Render, encode: Callable[[str], list[int]]) -> list[int]:
    """The tokens of a conversation that waits for an answer. Raises ValueError when it does not."""
    if not messages or messages[-1]["role"] != "user":
        raise ValueError(f"a conversation to answer must end with the user's turn, got {[m['role'] for m in messages]}")
    return encode(render(messages, True))


def tokenise(
    messages: list[dict[str, str]], render: Render, encode: Callable[[str], list[int]], is_end: Callable[[int], bool]
) -> Row:
    """The tokens of the prompt, and those of the answer up to its end token.

    Whatever the template writes after the end token (a line break, in ChatML) is not the answer's.
    Raises ValueError when the last message is no answer or the template does not end it.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError(f"a row must end with the assistant's answer, this one has {[m['role'] for m in messages]}")
    before, whole = render(messages[:-1], True), render(messages, False)
    prompt, full = encode(before), encode(whole)
    if full[: len(prompt)] == prompt:
        answer = full[len(prompt) :]
    elif whole.startswith(before):
        # A merge across the border. The model always answers after the prompt's own tokens.
        answer = encode(whole[len(before) :])
    else:
        raise ValueError("the chat template writes another prompt when the answer follows; it cannot be scored")
    ends = [place for place, token in enumerate(answer) if is_end(token)]
    if not ends:
        raise ValueError("the chat template does not end an answer with an end token; the model would never stop")
    return prompt, answer[: ends[-1] + 1]


def _plain(conversations: Sequence[Sequence[Message]]) -> list[list[dict[str, str]]]:
    return [[message.model_dump() for message in messages] for messages in conversations]


def _ask(module: str, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(prefix="understudy-engine-", suffix=".log", delete=False) as file:
        log = Path(file.name)
    # Kept when the worker fails: the error names it.
    result = call(module, job, log, progress)
    log.unlink()
    if "refused" in result:
        raise ExportError(result["refused"])
    return result
