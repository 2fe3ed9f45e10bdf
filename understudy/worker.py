"""
Heavy work in a process of its own: running out of memory kills the worker, not the flow.

The parent writes a line of JSON to the worker's stdin, the job and its log file, and keeps stdin
open: when the parent dies, however it dies, the worker reads the end of its input and ends too. The
worker answers with JSON lines on stdout, `{"progress": [done, total, note]}` and at last `{"result":
...}`, or `{"error": [class, argument]}` for an UnderstudyError, which the parent raises; what
libraries print goes to the log file. A worker whose libraries take long to import waits for the next
job of its kind, until a worker of another kind is needed.
"""

import ctypes.util
import gc
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from understudy import errors
from understudy.errors import ConfigError, UnderstudyError, WorkerFailed
from understudy.interfaces import Progress

LOG_LINES_SHOWN = 12
# transformers imports torch wherever it is installed: four seconds for each worker that reads a tokenizer for mlx. With
# None in its place Python finds no such module, and only the workers that train with torch go without this.
WITHOUT_TORCH = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module({!r}, run_name='__main__')"
running: set[subprocess.Popen[str]] = set()
_waiting: dict[tuple[object, ...], subprocess.Popen[str]] = {}
"""The worker that waits for a job, by its module and environment."""
_waiting_lock = threading.Lock()
Job = TypeVar("Job")
Result = TypeVar("Result")


def call(
    module: str,
    job: object,
    result: type[Result],
    progress: Progress,
    log: Path | None = None,
    blas: bool = True,
) -> Result:
    """Have `python -m module` do `job` (a record) and return its result. Raises the worker's error, or WorkerFailed.

    Without `log` what is printed goes to a temporary file, which stays only when the worker crashed. `blas` is for all
    workers but those that train with torch: torch has a BLAS of its own, and with `blas` it cannot be imported.
    """
    file = log or _temporary_log(module)
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = (module, *environment(blas).items())
    process = _take(kind)
    if process is None:
        with file.open("a", encoding="utf-8") as printed:
            process = start(module, printed, blas)
    message = None
    try:
        message = _converse(process, json.dumps({"log": str(file), "job": to_jsonable_python(job)}), progress)
    finally:
        if message is None or not message.get("waits") or not _keep(kind, process):
            stop(process)
            running.discard(process)
    if message is None:
        raise WorkerFailed(_obituary(module, process.returncode, file))
    if log is None:
        file.unlink()
    if "error" in message:
        kind, argument = message["error"]
        raise getattr(errors, kind)(argument)
    return TypeAdapter(result).validate_python(message["result"])


def _take(kind: tuple[object, ...]) -> "subprocess.Popen[str] | None":
    """The worker that waits for such a job. One of another kind is ended: its memory may be needed."""
    with _waiting_lock:
        waiting = _waiting.pop(kind, None)
        others = list(_waiting.values())
        _waiting.clear()
    for other in others:
        stop(other)
        running.discard(other)
    return waiting if waiting and waiting.poll() is None else None


def _keep(kind: tuple[object, ...], process: "subprocess.Popen[str]") -> bool:
    """Let the worker wait for the next job; False when one waits already."""
    with _waiting_lock:
        return _waiting.setdefault(kind, process) is process


def _temporary_log(module: str) -> Path:
    with tempfile.NamedTemporaryFile(prefix=f"{module}-", suffix=".log", delete=False) as file:
        return Path(file.name)


def start(module: str, log: IO[str], blas: bool = True) -> subprocess.Popen[str]:
    """`python -m module` with pipes for both ways, ended by `stop_all` like every worker; stderr goes to `log`.

    Python's -P: a folder of the same name where the user stands is not ours.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", *(["-c", WITHOUT_TORCH.format(module)] if blas else ["-m", module])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env=environment(blas),
        start_new_session=True,  # the terminal's Ctrl-C is for the parent
    )
    running.add(process)
    return process


def stop_all() -> None:
    """End every worker now; for Ctrl-C."""
    for process in list(running):
        stop(process)


def serve(job: type[Job], run: Callable[[Job, Progress], object], waits: bool = False) -> None:
    """The worker's side: read a job, run it, write the result, or the UnderstudyError that was raised.

    `waits`: then wait for another one.
    """
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # anything a library prints must not end up between the lines of JSON
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()

    def progress(done: int, total: int, note: str = "") -> None:
        lines.write(json.dumps({"progress": [done, total, note]}) + "\n")

    while True:
        fields = json.loads(jobs.get())
        _print_to(fields["log"])
        message: dict[str, Any]
        try:
            result = run(TypeAdapter(job).validate_python(fields["job"]), progress)
            message = {"result": to_jsonable_python(result)}
            del result
        except UnderstudyError as error:
            argument = error.problems if isinstance(error, ConfigError) else str(error)
            message = {"error": [type(error).__name__, argument]}
        gc.collect()  # a model is large, and part of cycles
        lines.write(json.dumps(message | {"waits": waits}) + "\n")
        lines.flush()
        if not waits:
            return


def _print_to(log: str) -> None:
    """Have what libraries print appended to the file `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _read_jobs(jobs: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(1)  # the parent is gone


def blas_to_preload() -> str | None:
    """A fast cblas for mlx on Linux, or None.

    The mlx wheel links the reference BLAS there (5 against 200 GFLOP/s measured on two cores).
    First the system's OpenBLAS, then the shim `make` builds over the one inside numpy's wheel.
    """
    if sys.platform != "linux":
        return None
    shim = Path(sys.prefix) / "lib" / "libunderstudy_blas.so"
    return ctypes.util.find_library("openblas") or (str(shim) if shim.exists() else None)


def environment(blas: bool = True) -> dict[str, str]:
    """The environment of a worker: ours without Prefect's variables, with a fast BLAS preloaded where there is one."""
    preload = blas_to_preload() if blas else None
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    path = os.pathsep.join(p for p in (str(Path(__file__).parents[1]), variables.get("PYTHONPATH")) if p)
    variables |= {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    return variables | ({"LD_PRELOAD": preload} if preload else {})


def _converse(process: subprocess.Popen[str], job: str, progress: Progress) -> dict[str, Any] | None:
    """The worker's last message; None when it crashed or ended without one."""
    assert process.stdin and process.stdout
    try:
        process.stdin.write(job + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None  # it died before reading; the log says why
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if "progress" in message:
            progress(*message["progress"])
        elif message["waits"] or process.wait() == 0:
            return message
    process.wait()
    return None


def stop(process: subprocess.Popen[str]) -> None:
    """End a worker and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _obituary(module: str, code: int, log: Path) -> str:
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:] if log.exists() else []
    why = f"exit code {code}"
    if code == -getattr(signal, "SIGKILL", 9):  # Windows has none
        why = "killed, most likely out of memory: take a smaller batch, shorter rows or a smaller base"
    return "\n".join([f"{module} ended badly ({why}); its whole log: {log}", *(f"    {line}" for line in tail)])
