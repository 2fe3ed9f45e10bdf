"""GGUF, the file llama.cpp, Ollama and LM Studio run: a Hugging Face folder as f16, and that file quantized."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import ConfigError, ExportError
from understudy.exporters import gguf_header, gguf_quantize
from understudy.exporters.gguf_quantize import known_types
from understudy.interfaces import Report
from understudy.worker import call

__all__ = ["GgufExporter", "known_types"]

WORKER = "understudy.exporters.gguf_worker"


class GgufExporter:
    """Converts and quantizes in a process of its own: llama.cpp ends its process on a damaged file."""

    class Options(BaseModel):
        """What may differ from one export to the next."""

        model_config = ConfigDict(frozen=True, extra="forbid")
        name: str | None = Field(default=None, description="shown by other programs; None: the model folder's name")

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self, types: list[str]) -> list[str]:
        """What is wrong with the names of the quantizations, one sentence each."""
        return gguf_quantize.problems(types)

    def convert(self, model: Path, out: Path, report: Report) -> None:
        """Write the Hugging Face folder `model` as one f16 file. Raises ExportError, WorkerFailed."""
        self._work({"action": "convert", "model": str(model), "out": str(out), "name": self.options.name}, out, report)

    def quantize(self, source: Path, out: Path, type: str, report: Report) -> None:
        """Write `source` again with smaller weights of `type`. Raises ConfigError, ExportError, WorkerFailed."""
        if problems := self.problems([type]):
            raise ConfigError(problems)
        self._work({"action": "quantize", "source": str(source), "out": str(out), "type": type}, out, report)

    def describe(self, file: Path) -> tuple[dict[str, int], float]:
        """Tensors per type and bits per weight, read back from the file. Raises ExportError when cut short."""
        return gguf_header.describe(file)

    def _work(self, job: dict[str, Any], out: Path, report: Report) -> None:
        log = out.with_suffix(".log")
        result = call(WORKER, job, log, report)
        log.unlink(missing_ok=True)
        if "error" in result:
            raise ExportError(result["error"])
