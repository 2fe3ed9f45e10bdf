"""
Two models over the same answers, token by token: change of likelihood, KL divergence, top-1 agreement.

Nothing of the logits is written to disk. Both models are held by one process and go through a row a piece
at a time; where the memory does not suffice for both, one after the other, and of the reference the most
probable tokens of every position are remembered: the divergence is then a lower bound, and says so.
"""

import sys
from collections.abc import Sequence

from pydantic import Field

from understudy import memory
from understudy.engines.answer_cache import Conversation
from understudy.interfaces import Candidate, Compared, Progress, RowCompared
from understudy.records import ChatExample, Pair, Record
from understudy.worker import call

WORKER = "understudy.engines.comparison_worker"
RESERVE_BYTES = 1_000_000_000
"""For the libraries, the caches of both models and the pieces of logits."""


class Job(Record):
    """What the worker compares."""

    reference: Candidate
    candidate: Candidate
    conversations: list[Conversation]
    pair_ids: list[str] = Field(description="of the conversations, to name one that cannot be compared")
    together: bool = Field(description="False: one model in memory at a time")
    threads: int | None


def compare(
    reference: Candidate,
    candidate: Candidate,
    rows: Sequence[tuple[Pair, ChatExample]],
    progress: Progress,
    memory_bytes: int | None = None,
    threads: int | None = None,
) -> Compared:
    """The rows through both models. Raises ExportError, WorkerFailed.

    `memory_bytes` is what both may take; None for nine tenths of what is free.
    """
    room = int(0.9 * memory.free_bytes()) if memory_bytes is None else memory_bytes
    together = needed(reference) + needed(candidate) + RESERVE_BYTES <= room
    job = Job(
        reference=reference,
        candidate=candidate,
        conversations=[[message.model_dump() for message in example.messages] for _, example in rows],
        pair_ids=[pair.pair_id for pair, _ in rows],
        together=together,
        threads=threads,
    )
    return Compared(call(WORKER, job, list[RowCompared], progress), together)


def needed(candidate: Candidate) -> int:
    """Bytes its weights take in memory: on a CPU mlx computes in float32, twice what 16-bit weights are on disk."""
    if not candidate.model.is_dir():
        return candidate.model.stat().st_size if candidate.model.exists() else 0
    folders = [folder for folder in (candidate.model, candidate.adapter) if folder]
    weights = sum(file.stat().st_size for folder in folders for file in folder.glob("*.safetensors"))
    return weights * (1 if sys.platform == "darwin" else 2)
