"""A GGUF file run by llama.cpp: the very file that Ollama and LM Studio are given."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from understudy.engines import Job, WorkerEngine
from understudy.errors import ConfigError
from understudy.interfaces import Progress
from understudy.records import Divergence, Message


class LlamaCppEngine(WorkerEngine):
    """Scores and answers with llama.cpp, in a worker process, by the file's own chat template."""

    VERSION = 3
    worker = "understudy.engines.llama_cpp_worker"
    INDIFFERENT = {"threads", "answer_cache"}

    class Options(BaseModel):
        """How it uses the machine, and where answers are cached."""

        model_config = ConfigDict(extra="forbid")
        threads: int | None = Field(default=None, ge=1, description="processor threads; None takes all cores")
        answer_cache: Path | None = Field(default=None, description="file of this model's answers, read and added to")

    def __init__(self, options: Options) -> None:
        self.options = options

    def divergence(
        self, model: Path, adapter: Path, conversations: Sequence[Sequence[Message]], progress: Progress
    ) -> list[Divergence]:
        """Impossible here: a merged file has no adapter to switch off. Raises ConfigError."""
        raise ConfigError([f"{model.name}: tuned and base are one file in GGUF; measure divergence with engine mlx"])

    def job(self, model: Path, adapter: Path | None, max_tokens: int) -> Job:
        """The job of its worker; a merged file takes no adapter. Raises ConfigError."""
        if adapter is not None:
            raise ConfigError([f"llama_cpp runs merged GGUF files, got the adapter {adapter} as well: fuse it first"])
        return Job(
            model=model,
            max_tokens=max_tokens,
            threads=self.options.threads,
            answer_cache=self.options.answer_cache,
            cache_key=["llama_cpp", self.VERSION, max_tokens],
        )
