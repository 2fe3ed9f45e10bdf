"""A GGUF file run by llama.cpp: the very file that Ollama and LM Studio are given."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import score_in_worker
from understudy.errors import ConfigError
from understudy.interfaces import Report
from understudy.records import ChatExample, Pair, Sample


class LlamaCppEngine:
    """Scores and answers with llama.cpp, in a worker process, by the file's own chat template."""

    VERSION = 1
    INDIFFERENT = {"threads"}

    class Options(BaseModel):
        """How it uses the machine."""

        model_config = ConfigDict(extra="forbid")
        threads: int | None = Field(default=None, ge=1, description="processor threads; None takes all cores")

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
        """Score every row and write the first `answers` answers. Raises ExportError, WorkerFailed."""
        if adapter is not None:
            raise ConfigError([f"llama_cpp runs merged GGUF files, got the adapter {adapter} as well: fuse it first"])
        if not rows:
            return []
        job = {
            "model": str(model),
            "answers": min(answers, len(rows)),
            "max_tokens": max_tokens,
            "threads": self.options.threads,
        }
        return score_in_worker("understudy.engines.llama_cpp_worker", job, rows, report)
