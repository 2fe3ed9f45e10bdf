"""
Engines: what runs a model file. This page is what they share, so that their numbers compare.

Each engine is a worker process around one library. It turns a conversation into tokens by `tokenize`: same messages,
same template, same ids. Its answers are cached as soon as a batch is done, so that a kill loses only that batch.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from understudy.engines.answer_cache import Conversation
from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.records import ChatExample, Completion, Divergence, Message, Pair, Record, Sample
from understudy.scoring.statistics import in_turn
from understudy.worker import call

Render = Callable[[Conversation, bool], str]
"""(messages, whether to add the generation prompt) > text, thinking off where the template knows it."""

Row = tuple[list[int], list[int]]
"""Tokens of the prompt, tokens of the reference answer."""

OPENING_TOKENS = 20
"""The opening manner shows in so many tokens of an answer."""


class Job(Record):
    """What a worker does with one model: score `conversations` and answer `prompts`, or measure divergences."""

    model: Path
    adapter: Path | None = None
    max_tokens: int = 1
    batch_rows: int = 1
    threads: int | None = None
    answer_cache: Path | None = None
    cache_key: list[str | int] = Field(description="what decides an answer, besides model and conversation")
    divergence: bool = Field(default=False, description="of `conversations`, instead of their scores")
    conversations: list[Conversation] = Field(default=[], description="each ends with an answer")
    prompts: list[Conversation] = Field(default=[], description="each ends with the user's turn")


class Result(Record):
    """What a worker returns; one entry per conversation or prompt, in their order."""

    scores: list[list[float]] = Field(default=[], description="-log p of every answer token, end token included")
    answers: list[Completion] = []
    divergences: list[Divergence] = []


class WorkerEngine:
    """An engine whose work is done by the process `worker`; a subclass says how to run a model there."""

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
        """Score every row, and generate `answers` answers to questions of all talks. Raises ExportError, WorkerFailed.

        `seconds` of an answer is its part of its batch's time, by tokens: they add up to the wall clock.
        """
        if not rows:
            return []
        conversations = _dicts(example.messages for _, example in rows)
        places = in_turn([pair.document_id for pair, _ in rows])[:answers]
        job = self.job(model, adapter, max_tokens)
        job = job.model_copy(
            update={"conversations": conversations, "prompts": [conversations[place][:-1] for place in places]}
        )
        result = call(self.worker, job, Result, progress)
        broken = [
            pair.pair_id for (pair, _), nats in zip(rows, result.scores, strict=True) if not math.isfinite(sum(nats))
        ]
        if broken:
            raise ExportError(f"{model}: no finite loss for {len(broken)} of {len(rows)} rows, first {broken[0]}")
        completions = dict(zip(places, result.answers, strict=True))
        return [
            sample(pair, nats, completions.get(place))
            for place, ((pair, _), nats) in enumerate(zip(rows, result.scores, strict=True))
        ]

    def complete(
        self,
        model: Path,
        adapter: Path | None,
        conversations: Sequence[Sequence[Message]],
        max_tokens: int,
        progress: Progress,
    ) -> list[Completion]:
        """What follows each conversation. Raises ExportError, WorkerFailed."""
        job = self.job(model, adapter, max_tokens).model_copy(update={"prompts": _dicts(conversations)})
        return call(self.worker, job, Result, progress).answers if conversations else []

    def likelihoods(
        self,
        model: Path,
        adapter: Path | None,
        choices: Sequence[tuple[Sequence[Message], Sequence[str]]],
        progress: Progress,
    ) -> list[list[float]]:
        """The sum of log p of each candidate answer, its end token left out. Raises ExportError, WorkerFailed."""
        flat = [
            [*_dicts([conversation])[0], {"role": "assistant", "content": answer}]
            for conversation, answers in choices
            for answer in answers
        ]
        if not flat:
            return [[] for _ in choices]
        job = self.job(model, adapter, 1).model_copy(update={"conversations": flat})
        sums = [-sum(nats[:-1]) for nats in call(self.worker, job, Result, progress).scores]
        if not all(map(math.isfinite, sums)):
            raise ExportError(f"{model}: likelihoods that are not finite")
        rest = iter(sums)
        return [[next(rest) for _ in answers] for _, answers in choices]

    def divergence(
        self, model: Path, adapter: Path, conversations: Sequence[Sequence[Message]], progress: Progress
    ) -> list[Divergence]:
        """Exact KL(tuned || base): the same weights, the adapter's scale on and off. Raises ExportError."""
        if not conversations:
            return []
        update = {"conversations": _dicts(conversations), "divergence": True}
        job = self.job(model, adapter, 1).model_copy(update=update)
        divergences = call(self.worker, job, Result, progress).divergences
        if not all(math.isfinite(one.nats) for one in divergences):
            raise ExportError(f"{adapter}: its divergence from the base is not finite")
        return divergences

    def job(self, model: Path, adapter: Path | None, max_tokens: int) -> Job:
        """The model and how to run it, with nothing to do yet. Raises ConfigError."""
        raise NotImplementedError


def sample(pair: Pair, nats: Sequence[float], completion: Completion | None) -> Sample:
    """The loss of one answer, whole and in parts, and the model's own answer; the last token is the end token."""
    opening, body = nats[:-1][:OPENING_TOKENS], nats[:-1][OPENING_TOKENS:]
    return Sample(
        pair_id=pair.pair_id,
        document_id=pair.document_id,
        nll=sum(nats),
        tokens=len(nats),
        opening_nll=sum(opening),
        opening_tokens=len(opening),
        body_nll=sum(body),
        body_tokens=len(body),
        end_nll=nats[-1],
        **(completion.model_dump() if completion else {}),
    )


def tokenize_prompt(messages: Conversation, render: Render, encode: Callable[[str], list[int]]) -> list[int]:
    """The tokens of a conversation that waits for an answer. Raises ValueError when it does not."""
    if not messages or messages[-1]["role"] != "user":
        raise ValueError(f"a conversation to answer must end with the user's turn, got {[m['role'] for m in messages]}")
    return encode(render(messages, True))


def tokenize(
    messages: Conversation, render: Render, encode: Callable[[str], list[int]], is_end: Callable[[int], bool]
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


def _dicts(conversations: Iterable[Sequence[Message]]) -> list[Conversation]:
    return [[message.model_dump() for message in messages] for messages in conversations]
