"""The jobs of the process that makes GGUF files; imports nothing heavy."""

from pathlib import Path

from understudy.records import Record


class Convert(Record):
    """A Hugging Face folder as one file of `type`."""

    model: Path
    out: Path
    name: str | None
    type: str
    llama_cpp_dir: Path | None


class ConvertAdapter(Record):
    """LoRA weights as a file that goes with a file of `base`."""

    base: Path
    adapter: Path
    out: Path


class Quantize(Record):
    """A file again with smaller weights of `type`."""

    source: Path
    out: Path
    type: str
    imatrix: Path | None


class MeasureImportance(Record):
    """The importance matrix of a folder, from chat rows."""

    model: Path
    rows: Path
    out: Path


class Rehearse(Record):
    """Whether a folder can be written at all; its weights are not read."""

    model: Path
    llama_cpp_dir: Path | None


class Job(Record):
    """One task."""

    task: Convert | ConvertAdapter | Quantize | MeasureImportance
