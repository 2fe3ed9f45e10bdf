"""The process in which a GGUF file is made.

Job: {action: convert, model, out, name} or {action: quantize, source, out, type}.
Result: {}, or {error} with the words of a refusal.
"""

from pathlib import Path
from typing import Any

from understudy.errors import ExportError
from understudy.exporters.gguf_convert import convert
from understudy.exporters.gguf_quantize import quantize
from understudy.interfaces import Report
from understudy.worker import serve


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Do one job; a refusal is a result, so that its words reach the caller as they are."""
    try:
        if job["action"] == "convert":
            convert(Path(job["model"]), Path(job["out"]), job["name"], report)
        else:
            quantize(Path(job["source"]), Path(job["out"]), job["type"], report)
    except ExportError as error:
        return {"error": str(error)}
    return {}


if __name__ == "__main__":
    serve(run)
