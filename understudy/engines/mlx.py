"""A Hugging Face folder, with or without a LoRA adapter, run by mlx-lm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import complete_in_worker, divergence_in_worker, likelihoods_in_worker, run_in_worker
from understudy.interfaces import Report
from understudy.records import ChatExample, Completion, Divergence, Message, Pair, Sample

WORKER = "understudy.engines.mlx_worker"


class MlxEngine:
    """Scores and answers with mlx-lm, in a worker process, several rows at a time."""

    VERSION = 2
    INDIFFERENT = {"batch_rows", "kept"}

    class Options(BaseModel):
        """How much is computed at once, and where answers are kept."""

        model_config = ConfigDict(extra="forbid")
        batch_rows: int = Field(default=16, ge=1, description="rows scored, and answers written, at once at most")
        kept: Path | None = Field(default=None, description="file of this model's answers, read and added to")

    def __init__(self, options: Options) -> None:
        self.options = options

    def run(
        self,
        model: Path,
        adapter: Path | None,
        rows: Sequence[tuple[Pair, ChatExample]],
        answers: int,
        max_tokens: int,
        report: Report,
    ) -> list[Sample]:
        """Score every row and write the first `answers` answers. Raises ExportError, WorkerFailed.

        `seconds` of an answer is its part of its batch's time, by tokens: they add up to the wall clock.
        """
        return run_in_worker(WORKER, self._job(model, adapter, max_tokens), rows, answers, report)

    def complete(
        self,
        model: Path,
        adapter: Path | None,
        conversations: Sequence[Sequence[Message]],
        max_tokens: int,
        report: Report,
    ) -> list[Completion]:
        """What follows each conversation, several at a time. Raises ExportError, WorkerFailed."""
        return complete_in_worker(WORKER, self._job(model, adapter, max_tokens), conversations, report)

    def likelihoods(
        self,
        model: Path,
        adapter: Path | None,
        choices: Sequence[tuple[Sequence[Message], Sequence[str]]],
        report: Report,
    ) -> list[list[float]]:
        """The sum of log p of each candidate answer. Raises ExportError, WorkerFailed."""
        return likelihoods_in_worker(WORKER, self._job(model, adapter, 1), choices, report)

    def divergence(
        self, model: Path, adapter: Path, conversations: Sequence[Sequence[Message]], report: Report
    ) -> list[Divergence]:
        """Exact KL(tuned || base): the same weights, the adapter's scale on and off. Raises ExportError."""
        return divergence_in_worker(WORKER, self._job(model, adapter, 1), conversations, report)

    def _job(self, model: Path, adapter: Path | None, max_tokens: int) -> dict[str, Any]:
        return {
            "model": str(model),
            "adapter": str(adapter) if adapter else None,
            "max_tokens": max_tokens,
            "batch_rows": self.options.batch_rows,
            "kept": str(self.options.kept) if self.options.kept else None,
            "settings": ["mlx", self.VERSION, max_tokens],
        }
