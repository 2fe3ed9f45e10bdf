"""
A GGUF file in Ollama: the Modelfile beside it, and `ollama create` where the program is installed.

Ollama guesses a template from the file when the Modelfile gives none, and guesses differently from
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
    adapter: str | None = None,
) -> str:
    """The text of a Modelfile for the file `gguf_name` in the same folder. Raises ConfigError.

    `template` is in Go's language, None leaves it to the file's own, which needs Ollama 0.30 or newer.
    `stops` are the texts of all end tokens. Give `system` only when training had one. `adapter` is a
    GGUF LoRA file beside it.
    """
    _require(gguf_name, template, stops, sampling, num_ctx, system, adapter)
    lines = [f"FROM ./{gguf_name}"]
    if adapter:
        lines.append(f"ADAPTER ./{adapter}")
    if template is None:
        lines.append("# Without TEMPLATE the chat template in the file is used: needs Ollama 0.30 or newer.")
    else:
        lines.append(f"TEMPLATE {QUOTES}{template}{QUOTES}")
    if system:
        lines.append(f"SYSTEM {QUOTES}{system}{QUOTES}")
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in dict.fromkeys(stops)]
    lines += [f"PARAMETER {name} {value:g}" for name, value in sampling.items()]
    lines.append(f"PARAMETER num_ctx {num_ctx}")
    return "\n".join(lines) + "\n"


def lines(file: Path, name: str) -> list[str]:
    """What to type to create the model `name` from the Modelfile `file`, and to run it. Raises ConfigError."""
    if not _NAME.match(name):
        raise ConfigError([f"{name!r} is no name for Ollama: lower-case letters and digits, such as my-talks"])
    if not file.is_file():
        raise ConfigError([f"there is no {file}; export the model again"])
    return [f"ollama create {name} -f {shlex.quote(str(file))}", f"ollama run {name}"]


def create(file: Path, name: str) -> list[str]:
    """Make the model `name` from the Modelfile `file`; returns the lines left to type. Raises ConfigError, ExportError.

    One is left to run it, and before it the one that creates it where Ollama is not installed.
    """
    left = lines(file, name)
    program = shutil.which("ollama")
    if program is None:
        return left
    done = subprocess.run(
        [program, "create", name, "-f", str(file.resolve())], capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        said = "\n".join(f"    {line}" for line in (done.stderr or done.stdout).strip().splitlines()[-LINES_SHOWN:])
        why = f"`ollama create {name}` ended with code {done.returncode}"
        raise ExportError(f"{why}; is Ollama running (`ollama serve`)? It said:\n{said}")
    return left[1:]


def _require(
    gguf_name: str,
    template: str | None,
    stops: Sequence[str],
    sampling: Mapping[str, float],
    num_ctx: int,
    system: str | None,
    adapter: str | None,
) -> None:
    problems = [
        f"{name!r} must be the name of a file beside the Modelfile, without spaces"
        for name in (gguf_name, adapter)
        if name is not None and (not name or re.search(r"[\s/\\]", name))
    ]
    problems += [
        f"{what} holds {QUOTES}, which ends a text in a Modelfile; take it out"
        for what, text in (("the template", template), ("the system message", system), *(("a stop", s) for s in stops))
        if text and QUOTES in text
    ]
    problems += [f"{name!r} is no name of a parameter" for name in sampling if not _PARAMETER.match(name)]
    if not stops or not all(stops):
        problems.append(f"stops are {list(stops)}: a model needs the texts of its end tokens, or it never ends")
    if num_ctx < 1:
        problems.append(f"num_ctx is {num_ctx}; give the tokens of the model's context")
    if problems:
        raise ConfigError(problems)


def _quoted(text: str) -> str:
    return f"{QUOTES}{text}{QUOTES}" if '"' in text else f'"{text}"'
