"""Smaller weights, made by llama.cpp's own quantizer inside this process."""

import ctypes
import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.registry import nearest

# Those that need an importance matrix (IQ1, IQ2, IQ3_XXS and XS, Q2_K_S) or a ternary model (TQ) are left out.
TYPES: dict[str, int] = {
    "F16": 1,
    "BF16": 32,
    "Q8_0": 7,
    "Q6_K": 18,
    "Q5_K_M": 17,
    "Q5_K_S": 16,
    "Q5_1": 9,
    "Q5_0": 8,
    "Q4_K_M": 15,
    "Q4_K_S": 14,
    "Q4_1": 3,
    "Q4_0": 2,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "Q3_K_L": 13,
    "Q3_K_M": 12,
    "Q3_K_S": 11,
    "IQ3_M": 27,
    "IQ3_S": 26,
    "Q2_K": 10,
}
LOG_LINES_SHOWN = 6


def known_types() -> list[str]:
    """The supported quantization types, largest first."""
    return list(TYPES)


def problems(types: list[str]) -> list[str]:
    """What is wrong with these names, one sentence each; [] when nothing is."""
    return [
        f"unknown quantization {name!r}{nearest(name.upper(), known_types())}" for name in types if name not in TYPES
    ]


def quantize(source: Path, out: Path, type: str, progress: Progress, imatrix: Path | None = None) -> None:
    """Write the F16 or BF16 file `source` as `out`, its weights as `type`, a name in TYPES. Raises ExportError.

    `imatrix` is a safetensors file: GGUF name > the importance of each column. llama.cpp can end the process on a
    damaged file: call it in a worker. It does not report progress. Rows not divisible by 256 fall back to another
    type without an error: read the types back with `describe`.
    """
    if not source.is_file():
        raise ExportError(f"{source}: is not there; convert the model first")
    import llama_cpp

    log = _log()
    log.lines.clear()
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = TYPES[type]
    settings.nthread = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    entries = _imatrix(imatrix) if imatrix else None  # llama.cpp reads it during the call: keep it here
    if entries is not None:
        settings.imatrix = ctypes.cast(entries, ctypes.POINTER(llama_cpp.llama_model_imatrix_data))
    progress(0, 1, type)
    require_space(out, source.stat().st_size * (1.1 if type == "BF16" else 1.0), type)
    with replacing(out) as partial:
        code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(partial), ctypes.byref(settings))
        if code != 0:
            raise ExportError(f"{source}: llama.cpp could not write it as {type} (code {code}):\n{log.tail()}")
    progress(1, 1, type)


def _imatrix(file: Path) -> Any:
    """The importance matrix as llama.cpp's array of names and columns, ended by an entry without a name."""
    import llama_cpp
    from safetensors.numpy import load_file

    columns = load_file(file)
    listed = (llama_cpp.llama_model_imatrix_data * (len(columns) + 1))()
    pointer = ctypes.POINTER(ctypes.c_float)
    for entry, (name, values) in zip(listed, columns.items(), strict=False):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(pointer)
    listed.columns = columns
    return listed


def require_space(out: Path, needed: float, type: str) -> None:
    """Make the folder of `out`. Raises ExportError when its disk has less than `needed` bytes free."""
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise ExportError(
            f"{out.parent}: {needed / 1e9:.1f} GB needed for the {type} file, {free / 1e9:.1f} GB free; "
            "make room or set another home"
        )


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A temporary name beside `out` to write to; it takes the place of `out` when all went well."""
    partial = out.with_name(f".{out.name}.tmp")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


class _Log:
    """What llama.cpp logs in this process from now on, instead of filling stderr."""

    def __init__(self) -> None:
        import llama_cpp

        self.lines: deque[str] = deque(maxlen=200)
        self._callback = llama_cpp.llama_log_callback(
            lambda level, text, _: self.lines.append(text.decode("utf-8", errors="replace"))
        )
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def tail(self) -> str:
        """The last lines, indented."""
        lines = [line for line in "".join(self.lines).splitlines() if line.strip()]
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])


_log = cache(_Log)  # once: llama.cpp calls it for as long as the process lives
