"""GGUF, the file llama.cpp, Ollama and LM Studio run: a Hugging Face folder as one file, and that file quantized."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import ConfigError, ExportError
from understudy.exporters import gguf_header, gguf_quantize, templates
from understudy.exporters.gguf_quantize import known_types
from understudy.interfaces import Progress
from understudy.records import ImportanceCard, TemplateCheck
from understudy.worker import call

__all__ = ["GgufExporter", "known_types"]

WORKER = "understudy.exporters.gguf_worker"
IMPORTANCE = "importance.safetensors"
CONVERTER = "convert_hf_to_gguf.py"


class GgufExporter:
    """Converts and quantizes in a process of its own: llama.cpp ends its process on a damaged file."""

    class Options(BaseModel):
        """What may differ from one export to the next."""

        model_config = ConfigDict(frozen=True, extra="forbid")
        name: str | None = Field(default=None, description="shown by other programs; None: the model folder's name")
        llama_cpp_dir: Path | None = Field(
            default=None, description="folder of llama.cpp, whose converter writes the families that this one cannot"
        )

    VERSION = 2
    INDIFFERENT = {"llama_cpp_dir"}

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self, types: list[str]) -> list[str]:
        """What is wrong with the names of the quantizations and the folder of llama.cpp, one sentence each."""
        found, folder = gguf_quantize.problems(types), self.options.llama_cpp_dir
        if folder and not (folder / CONVERTER).is_file():
            found.append(f"export.llama_cpp_dir: {folder} holds no {CONVERTER}; name the folder of llama.cpp")
        return found

    def settle(self, model: Path) -> bool:
        """Switch thinking off, and pin the date, in the chat template of a folder; True when that changed it."""
        return templates.settle(model)

    def convert(self, model: Path, out: Path, type: str, progress: Progress) -> None:
        """Write the Hugging Face folder `model` as one file. Raises ExportError, WorkerFailed."""
        folder = self.options.llama_cpp_dir
        job = {"action": "convert", "model": str(model), "out": str(out), "name": self.options.name, "type": type}
        self._work(job | {"llama_cpp_dir": str(folder) if folder else None}, out, progress)

    def knows(self, model: Path) -> bool:
        """Whether the model is of one of the families here. Raises ExportError without a config.json."""
        from understudy.exporters import gguf_families

        return gguf_families.kind(model) in gguf_families.known()

    def adapter(self, base: Path, adapter: Path, out: Path, progress: Progress) -> None:
        """Write the LoRA weights in `adapter`, for llama.cpp's --lora. Raises ExportError, WorkerFailed."""
        self._work({"action": "adapter", "base": str(base), "adapter": str(adapter), "out": str(out)}, out, progress)

    def quantize(self, source: Path, out: Path, type: str, importance: Path | None, progress: Progress) -> None:
        """Write `source` again with smaller weights of `type`. Raises ConfigError, ExportError, WorkerFailed."""
        if problems := gguf_quantize.problems([type]):
            raise ConfigError(problems)
        weighed = str(importance / IMPORTANCE) if importance else None
        job = {"action": "quantize", "source": str(source), "out": str(out), "type": type, "importance": weighed}
        self._work(job, out, progress)

    def importance(self, model: Path, rows: Path, out: Path, progress: Progress) -> ImportanceCard:
        """Fill folder `out` with the mean square of what goes into each matrix. Raises ExportError, WorkerFailed."""
        file = out / IMPORTANCE
        job = {"action": "importance", "model": str(model), "rows": str(rows), "out": str(file)}
        return ImportanceCard.model_validate(self._work(job, file, progress))

    def describe(self, file: Path, type: str) -> tuple[dict[str, int], float, list[str]]:
        """What is read back from the file. Raises ExportError when it is cut short."""
        return *gguf_header.describe(file), gguf_header.fallbacks(file, type)

    def round_trip(self, model: Path, file: Path, progress: Progress) -> TemplateCheck:
        """How both render five conversations, token by token. Raises ExportError, WorkerFailed."""
        log = file.with_suffix(".log")
        found = templates.round_trip(model, file, [], 0, log, progress)
        log.unlink(missing_ok=True)
        return TemplateCheck(family=found.family, stops=found.stops, differences=found.differences)

    def _work(self, job: dict[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
        log = out.with_suffix(".log")
        result = call(WORKER, job, log, progress)
        log.unlink(missing_ok=True)
        if "error" in result:
            raise ExportError(result["error"])
        return result
