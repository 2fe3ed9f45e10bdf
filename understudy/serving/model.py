"""
The parent's half of the worker: a GGUF file that answers, one request after another.

A crash costs the answer that was being written and no other: the next request starts the process again.
"""

import asyncio
import contextlib
import itertools
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from understudy import worker
from understudy.errors import ConfigError, UnderstudyError, WorkerFailed
from understudy.serving import Done, Event, Generate, Opening, Request

WORKER = "understudy.serving.worker"
CRASHES = 2
"""Crashes in a row after which the file or the machine is at fault, not the request."""


class RequestRefused(UnderstudyError):
    """This request cannot be answered, others can."""

    def __init__(self, reason: str, too_long: bool) -> None:
        super().__init__(reason)
        self.too_long = too_long


def problem_of(file: Path) -> str | None:
    """Why this cannot be a GGUF file, as far as four bytes show."""
    if not file.is_file():
        return f"{file} is a folder; name the GGUF file in it" if file.is_dir() else f"{file} does not exist"
    with file.open("rb") as opened:
        return None if opened.read(4) == b"GGUF" else f"{file} is not a GGUF file; take one whose name ends in .gguf"


@dataclass(eq=False)
class _Pending:
    """A request in progress, and its events so far."""

    request: Request
    process: "subprocess.Popen[str]"
    events: "asyncio.Queue[Event | None]" = field(default_factory=asyncio.Queue)


class Model:
    """A GGUF file that answers, for one event loop; nothing is loaded before it is needed."""

    def __init__(
        self,
        file: Path,
        context: int | None = None,
        threads: int | None = None,
        gpu_layers: int = -1,
        idle_seconds: float = 900.0,
        log: Path | None = None,
    ) -> None:
        """Raises ConfigError for a file that is not GGUF.

        `context` None takes what the model was trained for, 32,768 tokens at most. `gpu_layers` -1 takes all where
        llama.cpp was built for a GPU. A process that sends nothing for `idle_seconds` is ended: the loaded weights,
        256 tokens of a prompt and a token of the answer count as activity. `log` keeps what llama.cpp writes.
        """
        if problem := problem_of(file):
            raise ConfigError([problem])
        self.file, self.idle_seconds = file, idle_seconds
        self.broken: str | None = None
        """Why no request will be answered, once more than one has failed or llama.cpp has refused the file."""
        self.process: subprocess.Popen[str] | None = None
        self._opening = Opening(file=file.resolve(), context=context, threads=threads, gpu_layers=gpu_layers)
        self._log = log
        self._errors: IO[str] | None = None
        self._pending: dict[int, _Pending] = {}
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ids, self._turn, self._crashes, self._refusal = itertools.count(1), asyncio.Lock(), 0, ""

    async def context(self) -> int:
        """Tokens that a prompt and its answer may have together; loads no weights. Raises WorkerFailed."""
        return await self._number(Request(id=next(self._ids), kind="open"))

    async def load(self) -> int:
        """Load the weights; returns the context. Raises WorkerFailed."""
        return await self._number(Request(id=next(self._ids), kind="load"))

    async def tokens(self, text: str) -> int:
        """Tokens of `text`, also while an answer is being written; loads no weights. Raises WorkerFailed."""
        return await self._number(Request(id=next(self._ids), kind="count", text=text))

    async def generate(self, request: Generate) -> AsyncGenerator[str | Done, None]:
        """The answer in pieces, then its end. Raises RequestRefused, WorkerFailed.

        Answers wait for each other, first come, first served. Closing the generator cancels the answer, and the next
        one begins at once; a slow reader holds up no other.
        """
        await self._turn.acquire()
        events = self._events(Request(id=next(self._ids), kind="generate", generate=request))
        async with contextlib.aclosing(events):
            async for event in events:
                if event.kind in ("too_long", "bad_schema"):
                    raise RequestRefused(event.text, event.kind == "too_long")
                if event.kind == "text":
                    yield event.text
                if event.done:
                    self._crashes, self.broken = 0, None
                    yield event.done

    def close(self) -> None:
        """End the process; an answer that is being written fails. The next request would start it again."""
        if self.process:
            process, self.process = self.process, None
            worker.stop(process)
            worker.running.discard(process)
        if self._errors:
            self._errors.close()
            self._errors = None

    async def _number(self, request: Request) -> int:
        async with contextlib.aclosing(self._events(request)) as events:
            return (await anext(events)).number

    async def _events(self, request: Request) -> AsyncGenerator[Event, None]:
        """The events of a request up to its last one. Raises WorkerFailed."""
        try:
            pending = self._pending[request.id] = _Pending(request, self._running())
        except BaseException:
            if request.generate:
                self._turn.release()
            raise
        try:
            self._lines.put(request.model_dump_json(exclude_defaults=True))
            while True:
                event = await asyncio.wait_for(pending.events.get(), self.idle_seconds)
                if event is None:
                    raise self._failure(pending.process)
                yield event
                if event.kind not in ("read", "text"):
                    return
        except TimeoutError:
            await asyncio.to_thread(worker.stop, pending.process)
            why = f"no activity for {self.idle_seconds:g} s; take a smaller file, or raise idle_seconds"
            raise WorkerFailed(f"{self.file} does not answer: {why}") from None
        finally:
            if self._over(pending) and pending.process is self.process:
                self._lines.put(Request(id=request.id, kind="cancel").model_dump_json())

    def _over(self, pending: _Pending) -> bool:
        """Give the turn to the next request; False when that had already happened."""
        if self._pending.pop(pending.request.id, None) is None:
            return False
        if pending.request.generate:
            self._turn.release()
        return True

    def _running(self) -> "subprocess.Popen[str]":
        """The process, started when there is none."""
        if self.process is None or self.process.poll() is not None:
            if self._errors is None:
                open_file = self._log.open if self._log else tempfile.TemporaryFile
                self._errors = open_file("a+", encoding="utf-8", errors="replace")
            self.process = worker.start(WORKER, self._errors)
            self._refusal, self._lines = "", queue.SimpleQueue()
            self._lines.put(self._opening.model_dump_json())
            for target, argument in ((_write, self._lines), (self._listen, asyncio.get_running_loop())):
                threading.Thread(target=target, args=(self.process, argument), daemon=True).start()
        return self.process

    def _listen(self, process: "subprocess.Popen[str]", loop: asyncio.AbstractEventLoop) -> None:
        assert process.stdout
        lines = self._lines
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no request is waiting
            for line in process.stdout:
                loop.call_soon_threadsafe(self._take, Event.model_validate_json(line))
            process.wait()
            loop.call_soon_threadsafe(self._end, process)
        lines.put(None)
        worker.running.discard(process)
        process.stdout.close()

    def _take(self, event: Event) -> None:
        if event.kind == "failed":
            self._refusal = event.text
        elif pending := self._pending.get(event.id):
            pending.events.put_nowait(event)
            if event.kind not in ("read", "text"):
                self._over(pending)

    def _end(self, process: "subprocess.Popen[str]") -> None:
        for pending in [p for p in self._pending.values() if p.process is process]:
            pending.events.put_nowait(None)
            self._over(pending)

    def _failure(self, process: "subprocess.Popen[str]") -> WorkerFailed:
        """The reason why the process ended, with the end of its log; records when a restart would be useless."""
        code = process.returncode
        if process is not self.process or code == -signal.SIGTERM:
            return WorkerFailed(f"{self.file.name} was stopped before its answer was complete")
        self._crashes += 1
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        why = f"its process ended ({how}); take another file, a smaller context, or no GPU layers"
        if code == -getattr(signal, "SIGKILL", 9):
            why = f"its process ended ({how}): most likely memory ran out; take a smaller file or a smaller context"
        assert self._errors
        self._errors.seek(0)
        tail = (f"    {line}" for line in self._errors.read().splitlines()[-worker.LOG_LINES_SHOWN :])
        text = "\n".join([f"{self.file} does not answer: {self._refusal or why}", *tail])
        if self._refusal or self._crashes >= CRASHES:
            self.broken = text
        return WorkerFailed(text)


def _write(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str | None]") -> None:
    """Write lines until there is a None; in a thread, for a process that hangs does not read."""
    assert process.stdin
    with contextlib.suppress(OSError, ValueError):  # it is over, which `_listen` reports
        while (line := lines.get()) is not None:
            process.stdin.write(line + "\n")
            process.stdin.flush()
    with contextlib.suppress(OSError):
        process.stdin.close()
