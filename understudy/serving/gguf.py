"""One GGUF file in this process, run by llama.cpp; imports llama_cpp when a file is opened and not before."""

import contextlib
import ctypes
import functools
import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.serving import REPEAT_TOKENS, Sampling
from understudy.text.thinking import TEMPLATE_ARGUMENTS

LARGEST_CONTEXT = 32_768
"""Tokens of context taken by default: the memory of a long one is reserved even when no prompt needs it."""
TOKENS_AT_ONCE = 256
"""Prompt tokens per call of llama.cpp, with a heartbeat after each."""
MOST_REPETITIONS = 500
"""Of a rule in a grammar; llama.cpp dies of 2,000."""
TINY_BYTES = 32 << 20
"""Of a file; at 2 MB and 2 busy cores a second thread cost twice the processor time and gained none."""

Messages = Sequence[Mapping[str, str]]


class Unusable(Exception):
    """llama.cpp cannot use the file for this; the message says why."""


class Gguf:
    """One GGUF file: its vocabulary, and its weights where a context is given. Raises Unusable."""

    def __init__(self, file: Path, context: int | None = None, threads: int | None = None, gpu_layers: int = 0) -> None:
        """`context` is how many tokens prompt and answer may have together; None reads the vocabulary only."""
        import llama_cpp

        log_warnings()
        threads = threads or usual_threads(file)
        settings: dict[str, Any] = {"vocab_only": True}
        if context:
            batch = {"n_batch": TOKENS_AT_ONCE, "n_ubatch": TOKENS_AT_ONCE}
            settings = {"n_ctx": context, "n_threads": threads, "n_threads_batch": threads, **batch}
        if not file.is_file():
            raise Unusable(f"no such file: {file}")
        try:
            # Verbose: otherwise the binding discards all of llama.cpp's messages while it loads. It prints the whole
            # metadata too, which would fill the end of the log.
            with contextlib.redirect_stderr(io.StringIO()):
                self.llama = llama_cpp.Llama(str(file), n_gpu_layers=gpu_layers, verbose=True, **settings)
        except ValueError as error:  # the only thing the binding raises: a file it could not open, read or map
            size = f"{file.stat().st_size:,} bytes"
            raise Unusable(f"llama.cpp cannot load it ({error}); it has {size}: cut short? Make it again") from None
        self.llama.verbose = False
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.llama.model)
        self._evaluated: list[int] = []

    @property
    def largest_context(self) -> int:
        """The context the model was trained for, LARGEST_CONTEXT at most."""
        metadata = self.llama.metadata  # llama_model_n_ctx_train is 0 while only the vocabulary is read
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length", LARGEST_CONTEXT)
        return min(int(trained), LARGEST_CONTEXT)

    def tokens(self, text: str, add_bos: bool = False) -> list[int]:
        """Tokens of `text`, template tokens included; for any thread."""
        return list(self.llama.tokenize(text.encode(), add_bos=add_bos, special=True))

    def piece(self, token: int) -> bytes:
        """The bytes of one token, control tokens spelled out; b'' for -1, no token.

        Not `Llama.detokenize`: of llama-cpp-python 0.3.36 it drops tokens of more than 32 bytes, such as long rules.
        """
        import llama_cpp

        if token == -1:
            return b""
        size = 32
        while True:
            buffer = (ctypes.c_char * size)()
            length = int(llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, size, 0, True))
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def is_end(self, token: int) -> bool:
        """True for every token the file marks as an end: of turn, of text."""
        import llama_cpp

        return bool(llama_cpp.llama_vocab_is_eog(self.vocabulary, token))

    def render(
        self, messages: Messages, add_generation_prompt: bool = True, arguments: Mapping[str, bool] = TEMPLATE_ARGUMENTS
    ) -> str:
        """The conversation by the file's own chat template. Raises Unusable, ValueError where the template refuses."""
        return str(self._formatters[add_generation_prompt](messages=messages, **arguments).prompt)

    @functools.cached_property
    def _formatters(self) -> dict[bool, Callable[..., Any]]:
        """With a generation prompt, and without."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self.llama.metadata.get("tokenizer.chat_template")
        if template is None:
            raise Unusable("it holds no chat template, so its prompts would differ from training; convert it again")
        eos, bos = (
            self.piece(token).decode(errors="replace") for token in (self.llama.token_eos(), self.llama.token_bos())
        )
        return {
            prompt: Jinja2ChatFormatter(template, eos, bos, add_generation_prompt=prompt) for prompt in (True, False)
        }

    def prompt(self, messages: Messages) -> list[int]:
        """Tokens of a conversation that waits for an answer, the system message moved where the template has none."""
        try:
            text = self.render(messages)
        except ValueError:  # raised by the templates that know no system role, such as Gemma 2's
            text = self.render(without_system(messages))
        return self.tokens(text)

    def read(self, prompt: list[int], progress: Callable[[int], None] = lambda tokens: None) -> int:
        """Evaluate all of `prompt` but its last token; returns how many tokens were reused from the previous prompt.

        `progress` gets the number of evaluated tokens; it may raise to stop.
        """
        import llama_cpp

        shared = 0
        while shared < min(len(prompt) - 1, len(self._evaluated)) and prompt[shared] == self._evaluated[shared]:
            shared += 1
        # False: a recurrent model cannot go back to an earlier token.
        if shared and llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self.llama.ctx), -1, shared, -1):
            self.llama.n_tokens = shared
        else:
            shared = 0
            self.llama.reset()
        for start in range(shared, len(prompt) - 1, TOKENS_AT_ONCE):
            self._evaluated = prompt[:start]
            end = min(start + TOKENS_AT_ONCE, len(prompt) - 1)
            self.llama.eval(prompt[start:end])
            progress(end)
        self._evaluated = prompt[:-1]
        return shared

    def grammar(self, schema: Mapping[str, Any]) -> Any:
        """The schema as llama.cpp's grammar, without its large limits. Raises ValueError when it cannot be one."""
        import llama_cpp

        try:
            grammar = llama_cpp.LlamaGrammar.from_json_schema(json.dumps(without_large_limits(schema)), verbose=False)
        except Exception as error:  # the binding's converter checks nothing: KeyError, TypeError, AttributeError ...
            raise ValueError(f"{type(error).__name__}: {error}") from None
        # The binding hands on the null pointer of a grammar that does not parse, and llama.cpp dies of it.
        parsed = llama_cpp.llama_sampler_init_grammar(self.vocabulary, grammar._grammar.encode(), b"root")
        if not parsed:
            raise ValueError("llama.cpp cannot parse the grammar made from it")
        llama_cpp.llama_sampler_free(parsed)
        return grammar

    def generate(self, prompt: list[int], sampling: Sampling, grammar: Any = None) -> Iterator[int]:
        """The continuation of `prompt`, token by token, end tokens included; endless if the model does not stop."""
        seed = secrets.randbelow(2**31) if sampling.seed is None else sampling.seed
        self.llama.set_seed(seed % (2**32 - 1))  # the largest one stands for any
        settings = sampling.model_dump(exclude={"temperature", "seed"})
        # The other penalties are OpenAI's, and look at the whole answer.
        self.llama.last_n_tokens_size = REPEAT_TOKENS if sampling.repeat_penalty != 1 else self.llama.n_ctx()
        yield from self.llama.generate(prompt, temp=sampling.temperature, grammar=grammar, **settings)


def usual_threads(file: Path) -> int:
    """One for a tiny file, whose threads would mostly wait for each other, else one per core this process may use.

    Hyperthreads of one core are counted once on Linux: more threads make llama.cpp slower.
    """
    if file.is_file() and file.stat().st_size < TINY_BYTES:
        return 1
    cpus = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    cores = len({cpu.read_text() for cpu in cpus}) or os.cpu_count() or 1
    return min(cores, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else cores


@functools.cache  # llama.cpp keeps calling this callback: it must never be freed
def log_warnings() -> Any:
    """Send llama.cpp's warnings and errors to stderr, without its pages of information."""
    import llama_cpp

    warning, continued, shown = 3, 5, False  # ggml_log_level in ggml.h; the binding's own table is off by one

    def callback(level: int, text: bytes, user_data: Any) -> None:
        nonlocal shown
        shown = shown if level == continued else level >= warning
        if shown:
            os.write(2, text)

    function = llama_cpp.llama_log_callback(callback)
    llama_cpp.llama_log_set(function, None)
    return function


def without_system(messages: Messages) -> Messages:
    """The same messages, the system text moved to the start of the first user message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(m) for m in messages if m["role"] != "system"]
    return [rest[0] | {"content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]] if system and rest else messages


def without_large_limits(schema: Mapping[str, Any]) -> Any:
    """`schema` without any large maxLength or maxItems: a grammar repeats a rule that often."""

    def keep(part: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in part.items()
            # A property may have one of these names; its value is a schema then.
            if name not in ("maxLength", "maxItems") or not isinstance(value, int) or value <= MOST_REPETITIONS
        }

    return json.loads(json.dumps(schema), object_hook=keep)
