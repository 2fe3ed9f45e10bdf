"""
Engines: what runs a model file. This page is what they share, so that their numbers compare.

Each engine is a worker process around one library. The worker answers in plain data, one entry
per row, and turns a conversation into tokens by `tokenise`: same messages, same template, same ids.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from understudy.errors import ExportError
from understudy.interfaces import Report
from understudy.records import ChatExample, Pair, Sample
from understudy.worker import call

Render = Callable[[list[dict[str, str]], bool], str]
"""(messages, whether to add the generation prompt) > text, thinking off where the template knows it."""


def score_in_worker(
    module: str, job: dict[str, Any], rows: Sequence[tuple[Pair, ChatExample]], report: Report
) -> list[Sample]:
    """One Sample per row from the worker `module`. Raises ExportError, WorkerFailed.

    The worker gets `job` and `conversations`; it returns `scores`, (nats, tokens) per row, and
    `answers`, the keyword arguments of Sample for the first rows; or `refused`, a reason.
    """
    conversations = [[message.model_dump() for message in example.messages] for _, example in rows]
    with tempfile.NamedTemporaryFile(prefix="understudy-engine-", suffix=".log", delete=False) as file:
        log = Path(file.name)
    # Kept when the worker fails: the error names it.
    result = call(module, job | {"conversations": conversations}, log, report)
    log.unlink()
    if "refused" in result:
        raise ExportError(result["refused"])
    broken = [
        pair.pair_id for (pair, _), (nll, _) in zip(rows, result["scores"], strict=True) if not math.isfinite(nll)
    ]
    if broken:
        raise ExportError(f"{job['model']}: no finite loss for {len(broken)} of {len(rows)} rows, first {broken[0]}")
    answers = result["answers"] + [{}] * (len(rows) - len(result["answers"]))
    return [
        Sample(pair_id=pair.pair_id, document_id=pair.document_id, nll=nll, tokens=tokens, **answer)
        for (pair, _), (nll, tokens), answer in zip(rows, result["scores"], answers, strict=True)
    ]


def tokenise(
    messages: list[dict[str, str]], render: Render, encode: Callable[[str], list[int]], is_end: Callable[[int], bool]
) -> tuple[list[int], list[int]]:
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
