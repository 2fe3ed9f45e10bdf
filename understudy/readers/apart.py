"""
Files read in two processes of their own: one that hangs, crashes or eats the memory takes only its process along.

A process takes one JSON line per file on stdin and answers with one on stdout. It ends with its parent, and by
itself after some idle seconds, so that training has the memory.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from understudy import worker
from understudy.errors import Refused
from understudy.records import Document, Entry

PROCESSES = 2
SECONDS_A_FILE = 120.0
IDLE_SECONDS = 20
MEMORY_BYTES = 2 * 1024**3
DAY = 86_400.0


class Pool:
    """Processes that read files, started when there is something to read and replaced when they end."""

    def __init__(self, processes: int = PROCESSES, seconds_a_file: float = SECONDS_A_FILE) -> None:
        self.seconds_a_file = seconds_a_file
        self._free: queue.LifoQueue[subprocess.Popen[str] | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)

    def read(self, file: Path, entry: Entry) -> Document:
        """The file as a document, once a process is free. Raises Refused with the reason."""
        job = json.dumps([str(file.resolve()), entry.model_dump()])
        process = self._free.get()
        try:
            answer = None
            for _ in range(2):  # a process may end between two files; a file that ends two in a row is refused
                if process is None or process.poll() is not None:
                    process = _started()
                answer = self._asked(process, job)
                if answer is not None:
                    break
        finally:
            self._free.put(process)
        if answer is None:
            raise Refused("reading it crashed the process that read it")
        if "refused" in answer:
            raise Refused(*answer["refused"])
        return Document.model_validate(answer["document"])

    def _asked(self, process: subprocess.Popen[str], job: str) -> dict[str, Any] | None:
        """What the process answers within its time; None when it crashed."""
        assert process.stdin and process.stdout
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.seconds_a_file, end)
        timer.start()
        try:
            process.stdin.write(job + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if line.endswith("\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        process.kill()
        _ended(process)
        if late.is_set():
            raise Refused(f"reading it took longer than {self.seconds_a_file:.0f} s", retry_seconds=DAY)
        return None


def _started() -> subprocess.Popen[str]:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        process = worker.start("understudy.readers.apart", nowhere)
    return process


def _ended(process: subprocess.Popen[str]) -> None:
    process.wait()
    worker.running.discard(process)
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what was never read by a process that is gone
            assert pipe
            pipe.close()


_pool = Pool()


def read(file: Path, entry: Entry) -> Document:
    """The file as a document, read by one of the processes. Raises Refused with the reason."""
    return _pool.read(file, entry)


def main() -> None:
    """The side of a process: read files until the input ends."""
    from understudy.readers import read_here

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not end up between the lines of JSON
    _bound_memory()
    while line := _next_line():
        path, entry = json.loads(line)
        try:
            answer: dict[str, object] = {"document": read_here(Path(path), Entry(**entry)).model_dump(mode="json")}
        except Refused as refusal:
            answer = {"refused": [str(refusal), refusal.status, refusal.retry_seconds]}
        except OSError as error:
            answer = {"refused": [f"it cannot be read: {error.strerror or error}", "refused", 300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _next_line() -> str:
    alarm = getattr(signal, "alarm", lambda seconds: None)  # Windows has none: there it waits
    alarm(IDLE_SECONDS)  # its default action ends the process
    line = sys.stdin.readline()
    alarm(0)
    return line


def _bound_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(OSError, ValueError):  # macOS knows the limit, but does not keep it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    main()
