"""The process in which a GGUF file is made. Job: {action} and what the action is told; result: {error}, or its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.errors import ConfigError, ExportError
from understudy.exporters import gguf_convert
from understudy.exporters.gguf_quantize import quantize
from understudy.interfaces import Progress
from understudy.worker import serve

Job = dict[str, Any]


def run(job: Job, progress: Progress) -> dict[str, Any]:
    """Do one job; a refusal is a result, so that its words reach the caller as they are."""
    try:
        return ACTIONS[job["action"]](job, progress) or {}
    except (ExportError, ConfigError) as error:
        return {"error": str(error)}


def _convert(job: Job, progress: Progress) -> None:
    folder = Path(job["llama_cpp_dir"]) if job["llama_cpp_dir"] else None
    gguf_convert.convert(Path(job["model"]), Path(job["out"]), job["name"], progress, job["type"], folder)


def _adapter(job: Job, progress: Progress) -> None:
    gguf_convert.adapter(Path(job["base"]), Path(job["adapter"]), Path(job["out"]))
    progress(1, 1)


def _quantize(job: Job, progress: Progress) -> None:
    importance = Path(job["importance"]) if job["importance"] else None
    quantize(Path(job["source"]), Path(job["out"]), job["type"], progress, importance)


def _importance(job: Job, progress: Progress) -> dict[str, Any]:
    from understudy.exporters.gguf_importance import measure

    return measure(Path(job["model"]), Path(job["rows"]), Path(job["out"]), progress)


ACTIONS: dict[str, Callable[[Job, Progress], dict[str, Any] | None]] = {
    "convert": _convert,
    "adapter": _adapter,
    "quantize": _quantize,
    "importance": _importance,
}

if __name__ == "__main__":
    serve(run)
