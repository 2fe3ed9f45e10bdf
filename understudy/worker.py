"""
Heavy work in a process of its own: an out-of-memory kills the worker, not the flow.

The parent writes one JSON job to the worker's stdin and keeps it open: when the parent dies,
however it dies, the worker reads the end of its input and ends too. The worker answers with
JSON lines on stdout, `{"progress": [done, total, note]}` and at last `{"result": {...}}`, or
`{"error": {"message": "..."}}` for an ExportError, which the parent raises; what libraries print
goes to the log file.
"""

import ctypes.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel

from understudy.errors import ExportError, WorkerFailed
from understudy.interfaces import Progress

LOG_LINES_SHOWN = 12
running: set[subprocess.Popen[str]] = set()
Job = TypeVar("Job", bound=BaseModel)
Result = TypeVar("Result", bound=BaseModel)


def call_typed(module: str, job: BaseModel, result: type[Result], progress: Progress) -> Result:
    """Run `python -m module` on `job`, with a log that stays only when it fails. Raises ExportError, WorkerFailed."""
    with tempfile.NamedTemporaryFile(prefix=f"{module}-", suffix=".log", delete=False) as file:
        log = Path(file.name)
    try:
        answer = call(module, job.model_dump(mode="json"), log, progress)
    except ExportError:
        log.unlink()
        raise
    log.unlink()
    return result.model_validate(answer)


def call(module: str, job: dict[str, Any], log: Path, progress: Progress) -> dict[str, Any]:
    """Run `python -m module` on `job` and return its result. Raises ExportError, WorkerFailed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as errors:
        process = start(module, errors)
        try:
            result = _converse(process, job, progress)
        finally:
            stop(process)
            running.discard(process)
    if result is None:
        raise WorkerFailed(_obituary(module, process.returncode, log))
    return result


def start(module: str, errors: IO[str]) -> subprocess.Popen[str]:
    """`python -m module` with pipes for both ways, ended by `stop_all` like every worker; stderr goes to `errors`."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
        env=environment(),
        start_new_session=True,  # the terminal's Ctrl-C is for the parent
    )
    running.add(process)
    return process


def stop_all() -> None:
    """End every worker now; for Ctrl-C."""
    for process in list(running):
        stop(process)


def serve_typed(job: type[Job], run: Callable[[Job, Progress], BaseModel]) -> None:
    """The worker's side of `call_typed`."""
    serve(lambda raw, progress: run(job.model_validate(raw), progress).model_dump(mode="json"))


def serve(run: Callable[[dict[str, Any], Progress], dict[str, Any]]) -> None:
    """The worker's side: read the job, run it, write the result."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # anything a library prints must not end up between the lines of JSON
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def progress(done: int, total: int, note: str = "") -> None:
        lines.write(json.dumps({"progress": [done, total, note]}) + "\n")

    try:
        message = {"result": run(job, progress)}
    except ExportError as error:
        message = {"error": {"message": str(error)}}
    lines.write(json.dumps(message) + "\n")
    lines.flush()


def blas_to_preload() -> str | None:
    """A fast cblas for mlx on Linux, or None.

    The mlx wheel links the reference BLAS there (5 against 200 GFLOP/s measured on two cores).
    First the system's OpenBLAS, then the shim `make` builds over the one inside numpy's wheel.
    """
    if sys.platform != "linux":
        return None
    shim = Path(sys.prefix) / "lib" / "libunderstudy_blas.so"
    return ctypes.util.find_library("openblas") or (str(shim) if shim.exists() else None)


def environment() -> dict[str, str]:
    """What a worker sees: ours without Prefect's variables, with a fast BLAS put in front where one was found."""
    preload = blas_to_preload()
    known = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    path = os.pathsep.join(p for p in (str(Path(__file__).parents[1]), known.get("PYTHONPATH")) if p)
    return (
        known | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"} | ({"LD_PRELOAD": preload} if preload else {})
    )


def _converse(process: subprocess.Popen[str], job: dict[str, Any], progress: Progress) -> dict[str, Any] | None:
    result = None
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None  # it died before reading; the log says why
    for line in process.stdout:
        message = json.loads(line)
        if "progress" in message:
            progress(*message["progress"])
        elif "error" in message:
            raise ExportError(message["error"]["message"])
        else:
            result = message["result"]
    return result if process.wait() == 0 else None


def stop(process: subprocess.Popen[str]) -> None:
    """End a worker and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _obituary(module: str, code: int, log: Path) -> str:
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:] if log.exists() else []
    why = f"exit code {code}"
    if code == -signal.SIGKILL:
        why = "killed, most likely for want of memory: take a smaller batch, shorter rows or a smaller base"
    return "\n".join([f"{module} ended badly ({why}); its whole log: {log}", *(f"    {line}" for line in tail)])
