"""
A GGUF file in Ollama: the Modelfile beside it, and `ollama create` where the program is installed.

Ollama guesses a template from the file when the Modelfile has none, and guesses differently from
one version to the next; so everything that decides the prompt is written down.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from understudy.errors import ConfigError, ExportError

QUOTES = '"""'
LINES_SHOWN = 8
_NAME = re.compile(r"^(?:[a-z0-9][\w.-]*/)*[a-z0-9][\w.-]*(?::[\w.-]+)?$")
_PARAMETER = re.compile(r"^[a-z_]+$")


def modelfile(
    gguf_name: str,
    template: str | None,
    stops: Sequence[str],
    sampling: Mapping[str, float],
    num_ctx: int,
    system: str | None = None,
) -> str:
    """The text of a Modelfile for the file `gguf_name` in the same folder. Raises ConfigError.

    `template` is in Go's language, None leaves it to the file's own, which needs Ollama 0.30 or newer.
    `stops` are the texts of all end tokens. Give `system` only when training had one.
    """
    texts = {"the template": template, "the system message": system, "a stop": "\n".join(stops)}
    quoted = [what for what, text in texts.items() if QUOTES in (text or "")]
    problems = [f"{what} holds {QUOTES}, which ends a text in a Modelfile; take it out" for what in quoted]
    problems += [f"{name!r} is not the name of a parameter" for name in sampling if not _PARAMETER.match(name)]
    if not gguf_name or re.search(r"[\s/\\]", gguf_name):
        problems.append(f"{gguf_name!r} must be the name of a file beside the Modelfile, without spaces")
    if not stops or not all(stops):
        problems.append(f"stops are {list(stops)}: a model needs the texts of its end tokens, or it never ends")
    if num_ctx < 1:
        problems.append(f"num_ctx is {num_ctx}; give the tokens of the model's context")
    if problems:
        raise ConfigError(problems)
    lines = [f"FROM ./{gguf_name}", f"TEMPLATE {QUOTES}{template}{QUOTES}"]
    if template is None:
        lines[1] = "# Without TEMPLATE the chat template in the file is used: needs Ollama 0.30 or newer."
    if system:
        lines.append(f"SYSTEM {QUOTES}{system}{QUOTES}")
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in dict.fromkeys(stops)]
    lines += [f"PARAMETER {name} {value:g}" for name, value in sampling.items()]
    return "\n".join([*lines, f"PARAMETER num_ctx {num_ctx}", ""])


def lines(file: Path, name: str) -> list[str]:
    """The commands to create the model `name` from the Modelfile `file`, and to run it. Raises ConfigError."""
    if not _NAME.match(name):
        raise ConfigError([f"{name!r} is not a name for Ollama: use lower-case letters and digits, such as my-talks"])
    if not file.is_file():
        raise ConfigError([f"there is no {file}; export the model again"])
    return [f"ollama create {name} -f {shlex.quote(str(file))}", f"ollama run {name}"]


def create(file: Path, name: str) -> list[str]:
    """Create the model `name` from the Modelfile `file`; returns the commands left to run.

    One is left to run it, and before it the one that creates it where Ollama is not installed. Raises ConfigError,
    ExportError.
    """
    by_hand, program = lines(file, name), shutil.which("ollama")
    if program is None:
        return by_hand
    command = [program, "create", name, "-f", str(file.resolve())]
    process = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if process.returncode:
        output = (process.stderr or process.stdout).strip().splitlines()[-LINES_SHOWN:]
        why = f"`ollama create {name}` ended with code {process.returncode}; is Ollama running (`ollama serve`)?"
        raise ExportError("\n".join([f"{why} Its output:", *(f"    {line}" for line in output)]))
    return by_hand[1:]


def _quoted(text: str) -> str:
    return f"{QUOTES}{text}{QUOTES}" if '"' in text else f'"{text}"'
