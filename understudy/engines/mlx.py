"""A Hugging Face folder, with or without a LoRA adapter, run by mlx-lm."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import Job, WorkerEngine


class MlxEngine(WorkerEngine):
    """Scores and answers with mlx-lm, in a worker process, several rows at a time."""

    VERSION = 3
    worker = "understudy.engines.mlx_worker"
    INDIFFERENT = {"batch_rows", "answer_cache"}

    class Options(BaseModel):
        """How much is computed at once, and where answers are cached."""

        model_config = ConfigDict(extra="forbid")
        batch_rows: int = Field(default=16, ge=1, description="rows scored, and answers generated, at once at most")
        answer_cache: Path | None = Field(default=None, description="file of this model's answers, read and added to")

    def __init__(self, options: Options) -> None:
        self.options = options

    def job(self, model: Path, adapter: Path | None, max_tokens: int) -> Job:
        """The job of its worker."""
        return Job(
            model=model,
            adapter=adapter,
            max_tokens=max_tokens,
            batch_rows=self.options.batch_rows,
            answer_cache=self.options.answer_cache,
            cache_key=["mlx", self.VERSION, max_tokens],
        )
