"""
The process that runs llama.cpp for LocalWire.

Lines of JSON on stdin and stdout. First the opening `{"model", "weights", "window", "threads", "gpu_layers"}`,
answered by `{"window"}`; without weights only the vocabulary is read, to count tokens. Then one request at a time:

    {"count": text}                                         > {"count": n}
    {"messages", "schema", "max_tokens", "temperature", "seed"}
        > {"read": n} ... {"text": piece} ... {"done": {"finish", "input", "cached", "output"}}
        > {"too_long": n}                                   when the prompt leaves no room for a reply

`{"failed": why}` instead of any of these means that no request will ever be answered.
"""

import codecs
import functools
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LARGEST_WINDOW = 32_768
"""Tokens of context taken by default: the memory of a long one is reserved even when no talk needs it."""
TOKENS_AT_ONCE = 256
"""Prompt tokens per batch, with a sign of life after each."""

Tell = Callable[[dict[str, Any]], None]


class Unusable(Exception):
    """The file cannot be a teacher; the message says why."""


class LocalModel:
    """One GGUF file: its vocabulary, and its weights if asked for. Raises Unusable."""

    def __init__(self, model: str, weights: bool, window: int | None, threads: int | None, gpu_layers: int) -> None:
        import llama_cpp

        log_warnings()
        threads = threads or physical_cores()
        settings: dict[str, Any] = {"vocab_only": True}
        if weights:
            batch = {"n_batch": TOKENS_AT_ONCE, "n_ubatch": TOKENS_AT_ONCE}
            settings = {"n_ctx": window, "n_threads": threads, "n_threads_batch": threads, **batch}
        try:
            # Verbose: without it the binding throws away all that llama.cpp says while it loads.
            self.llama = llama_cpp.Llama(model, n_gpu_layers=gpu_layers, verbose=True, **settings)
        except ValueError as error:
            raise Unusable(f"llama.cpp cannot load it ({error})") from None
        told = self.llama.metadata  # llama_model_n_ctx_train is 0 while only the vocabulary is read
        trained = int(told.get(f"{told.get('general.architecture')}.context_length", LARGEST_WINDOW))
        self.window = window or min(trained, LARGEST_WINDOW)
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.llama.model)
        self._prompt: list[int] = []

    def prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """Tokens of `messages` by the file's own chat template, thinking switched off where it can be."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self.llama.metadata.get("tokenizer.chat_template")
        if template is None:
            raise Unusable("it holds no chat template; take the GGUF file of an instruct model")
        eos, bos = (
            self.piece(token).decode(errors="replace") for token in (self.llama.token_eos(), self.llama.token_bos())
        )
        render = Jinja2ChatFormatter(template, eos, bos)
        try:
            told = render(messages=messages, enable_thinking=False)  # type: ignore[arg-type]
        except ValueError:  # raised by the templates that know no system role, such as Gemma 2's
            told = render(messages=without_system(messages), enable_thinking=False)  # type: ignore[arg-type]
        return self.tokens(told.prompt)

    def tokens(self, text: str) -> list[int]:
        """Tokens of `text`, nothing added."""
        return self.llama.tokenize(text.encode(), add_bos=False, special=True)

    def read(self, prompt: list[int], tell: Tell) -> int:
        """Evaluate all of `prompt` but its last token; how many of its tokens were still there from the last one."""
        import llama_cpp

        shared = 0
        while shared < min(len(prompt) - 1, len(self._prompt)) and prompt[shared] == self._prompt[shared]:
            shared += 1
        self._prompt = []
        # False: a recurrent model cannot go back to an earlier token.
        memory = llama_cpp.llama_get_memory(self.llama.ctx)
        if shared and llama_cpp.llama_memory_seq_rm(memory, -1, shared, -1):
            self.llama.n_tokens = shared
        else:
            shared = 0
            self.llama.reset()
        for start in range(shared, len(prompt) - 1, TOKENS_AT_ONCE):
            self.llama.eval(prompt[start : min(start + TOKENS_AT_ONCE, len(prompt) - 1)])
            tell({"read": self.llama.n_tokens})
        self._prompt = prompt[:-1]
        return shared

    def write(self, prompt: list[int], job: dict[str, Any]) -> Iterator[tuple[int, bool]]:
        """What follows `prompt`, token by token, and whether it is an end token; endless if the model is."""
        import llama_cpp

        grammar = None
        if job["schema"] is not None:
            schema = json.dumps(without_lengths(job["schema"]))
            grammar = llama_cpp.LlamaGrammar.from_json_schema(schema, verbose=False)
        self.llama.set_seed(job["seed"])
        for token in self.llama.generate(prompt, temp=job["temperature"], repeat_penalty=1.0, grammar=grammar):
            yield token, bool(llama_cpp.llama_vocab_is_eog(self.vocabulary, token))

    def piece(self, token: int) -> bytes:
        """The bytes of one token, control tokens spelled out; b'' for -1, no token.

        Not `Llama.detokenize`: of llama-cpp-python 0.3.36 it drops tokens of more than 32 bytes.
        """
        import ctypes

        import llama_cpp

        if token == -1:
            return b""
        size = 32
        while True:
            buffer = (ctypes.c_char * size)()
            written: int = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, size, 0, True)
            if written >= 0:
                return buffer.raw[:written]
            size = -written


def physical_cores() -> int:
    """Cores this process may use, two threads of one core counted once where Linux tells: more make it slower."""
    cpus = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    cores = len({cpu.read_text() for cpu in cpus}) or os.cpu_count() or 1
    return min(cores, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else cores


@functools.cache  # llama.cpp goes on calling what it was given: it must never be freed
def log_warnings() -> Any:
    """Send llama.cpp's warnings and errors to stderr, without its pages of information."""
    import llama_cpp

    warning, continued, shown = 3, 5, False  # ggml_log_level in ggml.h; the binding's own table is off by one

    def callback(level: int, text: bytes, user_data: Any) -> None:
        nonlocal shown
        shown = shown if level == continued else level >= warning
        if shown:
            sys.stderr.write(text.decode(errors="replace"))

    kept = llama_cpp.llama_log_callback(callback)
    llama_cpp.llama_log_set(kept, None)
    return kept


def without_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same messages, the system text moved to the start of what the user says."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [m for m in messages if m["role"] != "system"]
    return [rest[0] | {"content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]] if system and rest else messages


def without_lengths(schema: Any) -> Any:
    """`schema` without any maxLength: its grammar repeats a rule that often, and llama.cpp dies of 2,000."""
    if isinstance(schema, list):
        return [without_lengths(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: without_lengths(part)
        for name, part in schema.items()
        if name != "maxLength" or not isinstance(part, int)  # a property may have that name
    }


def answer(model: LocalModel, job: dict[str, Any], tell: Tell) -> None:
    """One reply, told piece by piece, then how it ended and what it took."""
    prompt = model.prompt(job["messages"])
    room = model.window - len(prompt)
    if room < 1:
        return tell({"too_long": len(prompt)})
    cached, output, finish = model.read(prompt, tell), 0, "length"
    letters = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a letter may take several tokens
    for token, ends in model.write(prompt, job):
        output += 1
        if ends:
            finish = "stop"
            break
        tell({"text": letters.decode(model.piece(token))})
        if output >= min(job["max_tokens"], room):
            break
    tell({"text": letters.decode(b"", final=True)})
    return tell({"done": {"finish": finish, "input": len(prompt), "cached": cached, "output": output}})


def serve() -> None:
    """Answer the lines of stdin until it ends."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # anything a library prints must not end up between the lines of JSON

    def tell(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")

    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    opening = asked.get()
    try:
        model = LocalModel(**opening)
        tell({"window": model.window})
        while True:
            job = asked.get()
            if "count" in job:
                tell({"count": len(model.tokens(job["count"]))})
            else:
                answer(model, job, tell)
    except Unusable as why:
        tell({"failed": str(why)})


def _listen(asked: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Read on while the model works: the end of stdin means that nobody waits any more."""
    for line in sys.stdin:
        asked.put(json.loads(line))
    os._exit(0)


def _end_with(parent: int) -> None:
    """End when `parent` does, on Linux even if a process it forked still holds our stdin.

    Not PR_SET_PDEATHSIG: that one fires when the thread that started us ends, which a task's thread does.
    """
    import select

    if hasattr(os, "pidfd_open"):
        try:
            watched = os.pidfd_open(parent)
        except OSError:  # it is gone, or this kernel does not tell; stdin does
            return
        select.select([watched], [], [])
        os._exit(0)


if __name__ == "__main__":
    serve()
