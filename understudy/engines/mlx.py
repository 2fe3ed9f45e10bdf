"""A Hugging Face folder, with or without a LoRA adapter, run by mlx-lm."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import score_in_worker
from understudy.interfaces import Report
from understudy.records import ChatExample, Pair, Sample


class MlxEngine:
    """Scores and answers with mlx-lm, in a worker process, several rows at a time."""

    VERSION = 1
    INDIFFERENT = {"batch_rows"}

    class Options(BaseModel):
        """How much is computed at once."""

        model_config = ConfigDict(extra="forbid")
        batch_rows: int = Field(default=16, ge=1, description="rows scored, and answers written, at once at most")

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
        """Score every row and write the first `answers` answers. Raises WorkerFailed.

        `seconds` of an answer is its part of its batch's time, by tokens: they add up to the wall clock.
        """
        if not rows:
            return []
        job = {
            "model": str(model),
            "adapter": str(adapter) if adapter else None,
            "answers": min(answers, len(rows)),
            "max_tokens": max_tokens,
            "batch_rows": self.options.batch_rows,
        }
        return score_in_worker("understudy.engines.mlx_worker", job, rows, report)
