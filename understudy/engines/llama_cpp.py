"""A GGUF file run by llama.cpp: the very file that Ollama and LM Studio are given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import complete_in_worker, likelihoods_in_worker, run_in_worker
from understudy.errors import ConfigError
from understudy.interfaces import Report
from understudy.records import ChatExample, Completion, Divergence, Message, Pair, Sample

WORKER = "understudy.engines.llama_cpp_worker"


class LlamaCppEngine:
    """Scores and answers with llama.cpp, in a worker process, by the file's own chat template."""

    VERSION = 2
    INDIFFERENT = {"threads", "kept"}

    class Options(BaseModel):
        """How it uses the machine, and where answers are kept."""

        model_config = ConfigDict(extra="forbid")
        threads: int | None = Field(default=None, ge=1, description="processor threads; None takes all cores")
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
        """Score every row and write the first `answers` answers. Raises ExportError, WorkerFailed."""
        return run_in_worker(WORKER, self._job(model, adapter, max_tokens), rows, answers, report)

    def complete(
        self,
        model: Path,
        adapter: Path | None,
        conversations: Sequence[Sequence[Message]],
        max_tokens: int,
        report: Report,
    ) -> list[Completion]:
        """What follows each conversation, one after the other. Raises ExportError, WorkerFailed."""
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
        """Not here: a merged file has no adapter to switch off. Raises ConfigError."""
        raise ConfigError([f"{model.name}: tuned and base are one file in GGUF; measure divergence with engine mlx"])

    def _job(self, model: Path, adapter: Path | None, max_tokens: int) -> dict[str, Any]:
        if adapter is not None:
            raise ConfigError([f"llama_cpp runs merged GGUF files, got the adapter {adapter} as well: fuse it first"])
        return {
            "model": str(model),
            "max_tokens": max_tokens,
            "threads": self.options.threads,
            "kept": str(self.options.kept) if self.options.kept else None,
            "settings": ["llama_cpp", self.VERSION, max_tokens],
        }
