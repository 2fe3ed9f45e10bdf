"""
A GGUF file answers the calls, with llama.cpp in a process of its own: a crash there never takes the run with it.

One call at a time. The model is loaded once, by the first call, and keeps what it read: the calls about one talk
share their beginning, so only the first of them reads the talk.
"""

import asyncio
import importlib.util
import json
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from understudy import worker
from understudy.calls import Call, Reply, TryAgain, Usage
from understudy.errors import TeacherError, TeacherStopped

WORKER = "understudy.calls.local_worker"
COUNT_SECONDS = 120.0
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


class LocalWire:
    """A teacher in a GGUF file on this machine. Free of charge; never raises RateLimited."""

    def __init__(
        self,
        model: str,
        log: Path,
        file: str | None = None,
        context_window: int | None = None,
        threads: int | None = None,
        gpu_layers: int = -1,
        idle_seconds: float = 900.0,
    ) -> None:
        """`model` is a GGUF file, or 'owner/name' on the Hugging Face hub with a pattern in `file`.

        None takes the context the model was trained for, 32,768 tokens at most, and every physical core. `gpu_layers`
        -1 takes all where llama.cpp was built for a GPU. No sign of life for `idle_seconds` ends a call: the loaded
        weights, each 256 tokens of prompt and each token of the reply are one.
        """
        self.model, self.log, self.file, self.idle_seconds = model, log, file, idle_seconds
        self.context_window, self.threads, self.gpu_layers = context_window, threads, gpu_layers
        self._path: Path | None = None
        self._counting, self._turn = threading.Lock(), threading.Lock()
        # Two processes, so that a talk can be counted while another one is answered; one of them holds weights.
        self._counter: _Process | None = None
        self._writer: _Process | None = None
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="local-teacher")
        self._at_work: Call | None = None
        self._crashes = 0

    def problems(self) -> list[str]:
        """What makes this teacher unusable, one sentence each; reads four bytes, loads nothing, asks no hub."""
        problems, path = [], Path(self.model).expanduser()
        if importlib.util.find_spec("llama_cpp") is None:
            problems.append("a local teacher needs llama-cpp-python, which is not installed: pip install it")
        if path.is_dir():
            problems.append(f"the local teacher {self.model} is a folder; name the GGUF file in it")
        elif path.is_file():
            with path.open("rb") as opened:
                magic = opened.read(4)
            if magic != b"GGUF":
                problems.append(f"the local teacher {self.model} is not a GGUF file; take one whose name ends in .gguf")
        elif self.model.startswith(("/", ".", "~")) or self.model.endswith(".gguf"):
            problems.append(f"the local teacher {self.model} does not exist; check the path")
        elif not _REPOSITORY.match(self.model):
            problems.append(f"the local teacher {self.model!r} is neither a GGUF file nor 'owner/name' on the hub")
        elif not self.file:
            problems.append(f"which file of {self.model} is the local teacher? Give a pattern, e.g. '*Q4_K_M.gguf'")
        return problems

    @property
    def window(self) -> int:
        """Tokens that prompt and reply may have together. Loads no weights. Raises TeacherStopped."""
        with self._counting, self._no_crash():
            return self._vocabulary().window(COUNT_SECONDS)

    def tokens(self, text: str) -> int:
        """Tokens of `text` by the model's own vocabulary, the chat template's not counted. Loads no weights."""
        with self._counting, self._no_crash():
            return next(self._vocabulary().ask({"count": text}, COUNT_SECONDS))["count"]

    async def send(self, call: Call) -> Reply:
        """One attempt; calls wait for each other. Cancelling it ends the model's process at once.

        Raises TryAgain when the process ended or fell silent, TeacherStopped when it ended twice in a row or no talk
        can ever be answered, TeacherError for a prompt that does not fit in the window.
        """
        turn = self._lane.submit(self._take_turn, call)
        try:
            return await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            with self._turn:
                if not turn.cancel() and self._at_work is call and self._writer:
                    self._writer.stop()
            raise

    def close(self) -> None:
        """End both processes; a call at work ends with TryAgain. The next call would start them again."""
        for process in (self._writer, self._counter):
            if process:
                process.stop()

    def _take_turn(self, call: Call) -> Reply:
        """The reply, or the end of the process told as what the caller can do about it."""
        with self._turn:
            self._at_work = call
        try:
            reply = self._answer(call)
        except _Ended as end:
            self._crashes += not end.wanted
            if end.wanted:
                raise TryAgain(f"the call about {call.document_id} was stopped") from None
            if self._crashes > 1:
                raise TeacherStopped(_advice(self.model, end, self.log)) from None
            told = f"the local teacher's process ended ({end}) while it answered {call.document_id}"
            raise TryAgain(f"{told}; the next call starts it again; its log: {self.log}") from None
        finally:
            with self._turn:
                self._at_work = None
        self._crashes = 0
        return reply

    def _answer(self, call: Call) -> Reply:
        began, text = time.monotonic(), ""
        settings = {name: call.settings.get(name) or 0 for name in ("temperature", "seed")}
        job = {"messages": call.messages, "schema": call.schema, "max_tokens": call.max_tokens, **settings}
        try:
            for line in self._weights().ask(job, self.idle_seconds):
                text += line.get("text", "")
                if "too_long" in line:
                    raise TeacherError(
                        f"the prompt for {call.document_id} has {line['too_long']:,} tokens, the local teacher's "
                        f"window {self.window:,}: raise context_window if model and memory allow, or leave it out"
                    )
                if "done" in line:
                    finish, usage = line["done"].pop("finish"), Usage(**line["done"])
                    return Reply(text, finish, usage=usage, seconds=time.monotonic() - began)
        except TimeoutError:
            if text:
                return Reply(text, "cut", seconds=time.monotonic() - began)
            told = f"the local teacher gave no sign of life for {self.idle_seconds:g} s about {call.document_id}"
            raise TryAgain(f"{told}; take a smaller GGUF file, or raise idle_seconds") from None
        raise AssertionError("every reply ends with one of these lines")

    def _vocabulary(self) -> "_Process":
        """The process that counts, started when there is none."""
        if self._counter is None or self._counter.over:
            self._counter = self._start(weights=False, window=self.context_window)
        return self._counter

    def _weights(self) -> "_Process":
        """The process that answers, started when there is none."""
        if self._writer is None or self._writer.over:
            window = self.window
            with self._turn:  # a cancelled call must find the process it is to stop
                self._writer = self._start(weights=True, window=window)
        return self._writer

    def _start(self, weights: bool, window: int | None) -> "_Process":
        self._path = self._path or _found(self.model, self.file)
        use = {"threads": self.threads, "gpu_layers": self.gpu_layers}
        return _Process({"model": str(self._path), "weights": weights, "window": window, **use}, self.log)

    @contextmanager
    def _no_crash(self) -> Iterator[None]:
        """Reading a vocabulary is the same every time: a process that ends over it is not started again."""
        try:
            yield
        except (_Ended, TimeoutError) as end:
            raise TeacherStopped(_advice(self.model, end, self.log)) from None


class _Ended(Exception):
    """The process is over; the text says by which signal or exit code."""

    def __init__(self, code: int, wanted: bool) -> None:
        super().__init__(signal.Signals(-code).name if code < 0 else f"exit code {code}")
        self.wanted = wanted


class _Process:
    """The parent's half of a worker: lines of JSON, told apart from silence and from its end."""

    def __init__(self, opening: dict[str, Any], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._name, self._window, self._stopped = opening["model"], None, False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("a", encoding="utf-8") as errors:
            self._process = worker.start(WORKER, errors)
        threading.Thread(target=self._listen, daemon=True).start()
        self._write(opening)

    @property
    def over(self) -> bool:
        """True once the process has ended or was told to."""
        return self._stopped or self._process.poll() is not None

    def window(self, idle_seconds: float) -> int:
        """Tokens of its context, waiting until it has loaded what it loads. Raises as `ask` does."""
        if self._window is None:
            self._window = self._read(idle_seconds)["window"]
        return self._window

    def ask(self, job: dict[str, Any], idle_seconds: float) -> Iterator[dict[str, Any]]:
        """All it says of `job`, endless for the reader. Raises _Ended, TimeoutError after silence, TeacherStopped."""
        self.window(idle_seconds)
        self._write(job)
        while True:
            yield self._read(idle_seconds)

    def stop(self) -> None:
        """End it now."""
        self._stopped = True
        worker.stop(self._process)
        worker.running.discard(self._process)

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError, ValueError):  # it is over, which the next line read will tell
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read(self, idle_seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=idle_seconds)
        except queue.Empty:
            self.stop()
            raise TimeoutError(f"no sign of life for {idle_seconds:g} s") from None
        if line is None:
            wanted = self._stopped
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)  # its own last word, before ours
            self.stop()
            code = self._process.returncode
            raise _Ended(code, wanted or code == -signal.SIGTERM)
        told = json.loads(line)
        if "failed" in told:
            self.stop()
            raise TeacherStopped(f"the local teacher {self._name} cannot be used: {told['failed']}")
        return told


def _found(model: str, file: str | None) -> Path:
    """The GGUF file on this disk, downloaded first when `model` is on the hub; of a split one, its first part."""
    path = Path(model).expanduser()
    if path.exists() or not file:
        return path.resolve()
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(model, allow_patterns=[file]))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise TeacherStopped(f"the hub gives no {model} ({type(error).__name__}); run `hf auth login`?") from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        why = f"the local teacher {model} could not be downloaded ({type(error).__name__})"
        raise TeacherStopped(f"{why}; go on with a connection, or give the path of a GGUF file") from None
    files = sorted(f for f in folder.rglob("*.gguf") if f.relative_to(folder).match(file))
    parts = [f for f in files if "-of-" not in f.name or "-00001-of-" in f.name]
    if len(parts) == 1:
        return parts[0]
    names = ", ".join(f.name for f in parts) or "none"
    raise TeacherStopped(f"the pattern {file!r} must name one GGUF file of {model}; it names: {names}")


def _advice(model: str, end: Exception, log: Path) -> str:
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-worker.LOG_LINES_SHOWN :]
    cure = "take another GGUF file, a smaller context_window, or gpu_layers 0"
    if str(end) == "SIGKILL":
        cure = "most likely memory ran out: take a smaller GGUF file or a smaller context_window"
    why = f"the local teacher {model} does not run here ({end}): {cure}; its whole log: {log}"
    return "\n".join([why, *(f"    {line}" for line in tail)])
