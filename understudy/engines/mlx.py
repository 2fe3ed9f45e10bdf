"""A Hugging Face folder, with or without a LoRA adapter, run by mlx-lm."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import WorkerEngine


class MlxEngine(WorkerEngine):
    """Scores and answers with mlx-lm, in a worker process, several rows at a time."""

    VERSION = 2
    worker = "understudy.engines.mlx_worker"
    INDIFFERENT = {"batch_rows", "kept"}

    class Options(BaseModel):
        """How much is computed at once, and where answers are kept."""

        model_config = ConfigDict(extra="forbid")
        batch_rows: int = Field(default=16, ge=1, description="rows scored, and answers written, at once at most")
        kept: Path | None = Field(default=None, description="file of this model's answers, read and added to")

    def __init__(self, options: Options) -> None:
        self.options = options

    def job(self, model: Path, adapter: Path | None, max_tokens: int) -> dict[str, Any]:
        """The job of its worker."""
        return {
            "model": str(model),
            "adapter": str(adapter) if adapter else None,
            "max_tokens": max_tokens,
            "batch_rows": self.options.batch_rows,
            "kept": str(self.options.kept) if self.options.kept else None,
            "settings": ["mlx", self.VERSION, max_tokens],
        }
