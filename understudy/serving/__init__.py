"""
Using a finished model: in the terminal, over HTTP, in Ollama, in LM Studio.

    chat      a conversation in the terminal
    server    the OpenAI dialect on this machine's own address
    ollama    the Modelfile, and `ollama create`
    lmstudio  the folder in which LM Studio looks

This page is what chat and server share: one GGUF file that answers in a process of its own.
"""

import json
import secrets
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy import worker
from understudy.errors import ConfigError, UnderstudyError, WorkerFailed

WORKER = "understudy.calls.local_worker"
NOTICE = "Answers are written by AI in the style of the teacher. They are not the teacher's own words."


class Asked(BaseModel):
    """How an answer is to be written."""

    model_config = ConfigDict(frozen=True)
    temperature: float = Field(default=0.7, ge=0, description="0 always takes the likeliest token")
    seed: int | None = Field(default=None, ge=0, description="the same one gives the same answer; None draws one")
    max_tokens: int = Field(default=2048, ge=1, description="tokens after which an answer is cut off")
    json_schema: dict[str, Any] | None = Field(default=None, description="the JSON an answer must be")


class Ended(BaseModel):
    """How an answer ended."""

    model_config = ConfigDict(frozen=True)
    finish: str = Field(description="'stop' by itself, 'length' at the limit")
    input: int = Field(description="tokens of the prompt")
    cached: int = Field(description="those of them that were still there from the answer before")
    output: int = Field(description="tokens of the answer, its end token included")


class TooLong(UnderstudyError):
    """The conversation leaves no room for an answer."""


class LocalChat:
    """One GGUF file that answers conversations, one at a time; the model is loaded by the first."""

    def __init__(self, gguf: Path, context: int | None = None, threads: int | None = None) -> None:
        """`context` None takes what the model was trained for, 32,768 tokens at most. Raises ConfigError."""
        if not gguf.is_file():
            raise ConfigError([f"{gguf} is no file; name a GGUF file, such as models/<channel>/<run>/gguf/<file>.gguf"])
        with gguf.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise ConfigError([f"{gguf} is not a GGUF file; take one whose name ends in .gguf"])
        self.gguf = gguf
        self.ended: Ended | None = None
        """How the last answer ended; None while one is written, and when it was stopped."""
        self._window, self._threads = context, threads
        self._process: subprocess.Popen[str] | None = None
        self._log: Path | None = None

    def start(self) -> int:
        """Load the model where it is not; returns its context in tokens. Raises WorkerFailed."""
        if self._process is None or self._process.poll() is not None:
            if self._window is None:  # the process that loads the weights must be told; one without them finds it out
                self._window = self._launch(weights=False)
            self._launch(weights=True)
        assert self._window
        return self._window

    def answer(self, messages: list[dict[str, str]], asked: Asked) -> Generator[str, None, None]:
        """The answer to `messages`, piece by piece. Raises TooLong, WorkerFailed.

        Whoever stops reading early ends the model's process: the next answer loads it again, which the
        operating system makes quick, since the file is still in its memory.
        """
        self.ended, whole = None, False
        try:
            self.start()
            seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
            told = {"messages": messages, "schema": asked.json_schema, "seed": seed}
            self._say(told | {"temperature": asked.temperature, "max_tokens": asked.max_tokens})
            while not whole:
                told = self._heard()
                if "too_long" in told:
                    whole = True
                    raise TooLong(
                        f"the conversation has {told['too_long']:,} tokens, the model's context is {self._window:,}: "
                        "begin a new one, or shorten it"
                    )
                if "done" in told:
                    self.ended, whole = Ended.model_validate(told["done"]), True
                elif told.get("text"):
                    yield told["text"]
        finally:
            if not whole:
                self.close()

    def close(self) -> None:
        """End the process; the next answer would start it again."""
        if self._process is not None:
            worker.stop(self._process)
            worker.running.discard(self._process)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    pipe.close()
            self._process = None
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    def _launch(self, weights: bool) -> int:
        """Start a process in place of the one there is; returns its context in tokens."""
        self.close()
        with tempfile.NamedTemporaryFile(
            "w", prefix="understudy-model-", suffix=".log", delete=False, encoding="utf-8"
        ) as errors:
            self._log = Path(errors.name)
            self._process = worker.start(WORKER, errors)
        use = {"window": self._window, "threads": self._threads, "gpu_layers": -1}
        self._say({"model": str(self.gguf.resolve()), "weights": weights, **use})
        return int(self._heard()["window"])

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process and self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail("its process is gone")

    def _heard(self) -> dict[str, Any]:
        assert self._process and self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._fail(f"its process ended with code {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        if "failed" in told:
            self._fail(str(told["failed"]))
        return told

    def _fail(self, why: str) -> None:
        assert self._log
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-worker.LOG_LINES_SHOWN :]
        self.close()
        advice = "take a smaller file or context if memory ran out, else make the file again"
        raise WorkerFailed("\n".join([f"{self.gguf} does not answer: {why}; {advice}", *(f"    {s}" for s in said)]))
