"""GGUF, the file llama.cpp, Ollama and LM Studio run: a Hugging Face folder as one file, and that file quantized."""

from pathlib import Path
from types import NoneType

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import ConfigError, ExportError
from understudy.exporters import converter, gguf_quantize, templates
from understudy.exporters.gguf_jobs import Convert, ConvertAdapter, Job, MeasureImportance, Quantize, Rehearse
from understudy.exporters.gguf_quantize import known_types
from understudy.gguf import header
from understudy.interfaces import Progress
from understudy.records import ImportanceCard, TemplateCheck
from understudy.worker import call

__all__ = ["GgufExporter", "known_types"]

WORKER = "understudy.exporters.gguf_worker"
IMATRIX = "importance.safetensors"


class GgufExporter:
    """Converts and quantizes in a process of its own: llama.cpp ends its process on a damaged file."""

    class Options(BaseModel):
        """What may differ from one export to the next."""

        model_config = ConfigDict(frozen=True, extra="forbid")
        name: str | None = Field(default=None, description="shown by other programs; None: the model folder's name")
        llama_cpp_dir: Path | None = Field(
            default=None,
            description="folder of llama.cpp, whose converter writes the families that this one cannot; None: the one "
            "that `make converter` installs",
        )

    VERSION = 2
    INDIFFERENT = {"llama_cpp_dir"}

    def __init__(self, options: Options) -> None:
        self.options = options
        self.llama_cpp = options.llama_cpp_dir or converter.installed()

    def problems(self, types: list[str]) -> list[str]:
        """What is wrong with the names of the quantizations and the folder of llama.cpp, one sentence each."""
        problems, folder = gguf_quantize.problems(types), self.options.llama_cpp_dir
        if folder and not (folder / converter.PROGRAM).is_file():
            problems.append(
                f"export.llama_cpp_dir: {folder} holds no {converter.PROGRAM}; name the folder of llama.cpp"
            )
        return problems

    def set_template_defaults(self, model: Path) -> bool:
        """Switch thinking off, and pin the date, in the chat template of a folder; True when that changed it."""
        return templates.set_defaults(model)

    def unwritable(self, model: Path) -> list[str]:
        """Why the model in a folder cannot be written, one sentence each, as far as it shows without its weights."""
        from understudy.exporters import gguf_convert

        try:
            gguf_convert.require_writable(model, self.llama_cpp)
        except ExportError as error:
            return [str(error)]
        return []

    def rehearse(self, model: Path, progress: Progress) -> list[str]:
        """All that would keep a tuned copy of the folder from being written or prompted as it was trained."""
        task = Rehearse(model=model, llama_cpp_dir=self.llama_cpp)
        return call("understudy.exporters.rehearsal", task, list[str], progress)

    def convert(self, model: Path, out: Path, type: str, progress: Progress) -> None:
        """Write the Hugging Face folder `model` as one file. Raises ExportError, WorkerFailed."""
        options = self.options
        task = Convert(model=model, out=out, name=options.name, type=type, llama_cpp_dir=self.llama_cpp)
        call(WORKER, Job(task=task), NoneType, progress)

    def knows(self, model: Path) -> bool:
        """Whether the model is of one of the families here. Raises ExportError without a config.json."""
        from understudy.gguf import families

        return families.kind(model) in families.known()

    def adapter(self, base: Path, adapter: Path, out: Path, progress: Progress) -> None:
        """Write the LoRA weights in `adapter`, for llama.cpp's --lora. Raises ExportError, WorkerFailed."""
        call(WORKER, Job(task=ConvertAdapter(base=base, adapter=adapter, out=out)), NoneType, progress)

    def quantize(self, source: Path, out: Path, type: str, importance: Path | None, progress: Progress) -> None:
        """Write `source` again with smaller weights of `type`. Raises ConfigError, ExportError, WorkerFailed."""
        if problems := gguf_quantize.problems([type]):
            raise ConfigError(problems)
        imatrix = importance / IMATRIX if importance else None
        call(WORKER, Job(task=Quantize(source=source, out=out, type=type, imatrix=imatrix)), NoneType, progress)

    def importance(self, model: Path, rows: Path, out: Path, progress: Progress) -> ImportanceCard:
        """Fill folder `out` with the mean square of each matrix's inputs. Raises ExportError, WorkerFailed."""
        task = MeasureImportance(model=model, rows=rows, out=out / IMATRIX)
        return call(WORKER, Job(task=task), ImportanceCard, progress)

    def describe(self, file: Path, type: str) -> tuple[dict[str, int], float, list[str]]:
        """Tensors per type, bits per weight, fallbacks: read back from the file. Raises ExportError if cut short."""
        return *header.describe(file), header.fallbacks(file, type)

    def round_trip(self, model: Path, file: Path, progress: Progress) -> TemplateCheck:
        """How both render five conversations, token by token. Raises ExportError, WorkerFailed."""
        return templates.round_trip(model, file, progress)
