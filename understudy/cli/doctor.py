"""Show what this machine trains on and how fast, which bases fit, what to install, and which servers answer.

Nothing is written and nothing is downloaded.
"""

import os
import platform
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from understudy import memory, worker
from understudy.bases import suggest
from understudy.bases.known import KNOWN, KnownBase
from understudy.cli import Result
from understudy.cli.doctor_worker import OPERATIONS, RANK, Speed
from understudy.config import Config
from understudy.errors import WorkerFailed
from understudy.text.words import counted

EXAMPLE = "understudy doctor"
PACKAGES = ("mlx", "mlx-lm", "transformers", "llama-cpp-python", "prefect", "openai", "pydantic")
PROBE_SECONDS = 5.0
SERVER_SECONDS = 2.0
FREE_BYTES = 10_000_000_000
ROW_TOKENS = 512
PAIRS, EPOCHS, PAIR_TOKENS = 1000, 3, 250
"""What is estimated for each base: the tokens are those of a usual question and answer."""
NIGHT_HOURS = 8
FASTER, SLOWER = 0.6, 2.0
"""Of the hours that a measured step leads to: short rows multiply less well, evaluations come on top."""
OLLAMA = "http://127.0.0.1:11434"
State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """One line of output: what was checked, and what to do if the state is not 'ok'."""

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Fit:
    """What 1,000 pairs take on this machine with one base; `row_tokens` is None when it does not fit at all."""

    base: str
    repository: str
    free: bool
    """Whether it can be downloaded without asking for access."""
    parameters: int
    row_tokens: int | None
    hours: float
    gigabytes: float
    text: str


@dataclass(frozen=True)
class Health:
    """All findings."""

    checks: list[Check]
    bases: list[Fit]
    speed: Speed | None


def main(args: Namespace) -> Result:
    """All findings."""
    health = examine(args.home)
    return Result(as_text(health), asdict(health))


def examine(home: Path, environment: Mapping[str, str] = os.environ, seconds: float = PROBE_SECONDS) -> Health:
    """Check everything; a failed check is one more line. Takes about `seconds` plus five."""
    speed, checks = None, [_check("python", _python), _check("packages", _packages)]
    try:
        speed = measured(seconds)
        checks += [_trains_on(speed), _check("speed", lambda: _speed(speed))]
    except Exception as error:
        checks.append(Check("trains on", "problem", f"nothing here: {_reason(error)}; run `make setup`"))
    checks += [
        _check("memory", lambda: _memory(speed)),
        _check("disk", lambda: _disk(home)),
        _check("Prefect", lambda: _prefect(environment)),
        _check("Ollama", lambda: _ollama(environment)),
    ]
    fits = [fit(base, speed) for base in KNOWN if base.thinking != "always"] if speed else []
    return Health(checks, sorted(fits, key=lambda one: one.parameters), speed)


def as_text(health: Health) -> str:
    """The checks, one line each, then the table of bases."""
    wide = max(len(check.name) for check in health.checks)
    lines = [f"{check.state:8}{check.name:{wide + 2}}{check.text}" for check in health.checks]
    if health.bases:
        lines += ["", f"What {PAIRS:,} pairs take here ({EPOCHS} epochs, rows of about {PAIR_TOKENS} tokens):"]
        wide = max(len(fit.base) for fit in health.bases)
        lines += [f"  {fit.base:{wide + 2}}{fit.text}" for fit in health.bases]
        lines += ["", to_take(health.bases)]
    return "\n".join(lines)


def to_take(bases: Sequence[Fit]) -> str:
    """Which base to take, as a sentence: the largest that is trained in a night."""
    usable = [fit for fit in bases if fit.row_tokens and fit.free]
    if not usable:
        return "None of these bases fits; take a smaller one, or the scratch base, which fits everywhere."
    overnight = [fit for fit in usable if fit.hours <= NIGHT_HOURS]
    if overnight:
        best, why = max(overnight, key=lambda fit: fit.parameters), "the largest of them that is trained in a night"
    else:
        best, why = min(usable, key=lambda fit: fit.hours), "the fastest of them"
    return f"Take {best.base}, {why}: --base {best.repository}"


def fit(base: KnownBase, speed: Speed) -> Fit:
    """What rank-8 LoRA on all blocks of `base` takes here, with which fallbacks, by the step that was measured."""
    cpu = speed.device == "cpu"
    model, limit = memory.model_of(base.config), memory.Limit(speed.limit_bytes, speed.limit_why)
    size = 4 if cpu else 2
    shape = memory.Shape(model, RANK, model.layers, ROW_TOKENS, ROW_TOKENS, size * 8, size, compiled=not cpu)
    plan = memory.plan(shape, limit)
    operations = (OPERATIONS + 2 * plan.shape.checkpointing) * model.parameters  # what is computed again costs two more
    hours = PAIRS * EPOCHS * PAIR_TOKENS * operations / (speed.step_gflops * 1e9) / 3600
    gigabytes, row = plan.bytes / 1e9, None if plan.problem else memory.longest_row(plan.shape, limit, base.context)
    if plan.problem:
        text = f"do not fit: {gigabytes:.1f} GB with everything reduced"
    else:
        with_what = "".join(f"; {remedy.split(' (')[0]}" for remedy in plan.remedies)
        text = f"about {_duration(hours)} and {gigabytes:.1f} GB of memory; rows of up to {row:,} tokens{with_what}"
    free = base.licence in suggest.FREE
    return Fit(base.name, base.repository, free, model.parameters, row, hours, gigabytes, text)


def training(config: Config, rows: int, row_tokens: float) -> str:
    """What training on so many rows takes here, as a line, by a step that is measured; '' where the base is unknown.

    It lasts two seconds. With `machine.usd_per_hour` the price is that of as many hours as here.
    """
    sizes = config.plugin("base").sizes()
    if sizes is None:
        return ""
    parameters = memory.model_of(sizes).parameters
    suggested = config.plugin("trainer").suggested(parameters, rows).options
    epochs = float(config.trainer.options.get("epochs") or suggested["epochs"])
    speed = measured(2.0)
    hours = rows * epochs * row_tokens * OPERATIONS * parameters / (speed.step_gflops * 1e9) / 3600
    low, high = hours * FASTER, hours * SLOWER
    line = f"Training on about {counted(rows, 'row')}, {epochs:g} epochs: {_duration(low)} to {_duration(high)} here"
    price = config.machine.usd_per_hour
    if price is not None:
        line += f", {low * price:.2f} to {high * price:.2f} USD at {price:g} USD per hour (machine.usd_per_hour)"
    return f"{line} ({speed.name}, a training step measured now)."


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.0f} hours" if hours >= 1.5 else f"{max(1, round(60 * hours))} minutes"


def measured(seconds: float = PROBE_SECONDS) -> Speed:
    """How fast this machine computes, measured in a worker. Raises WorkerFailed."""
    return worker.call("understudy.cli.doctor_worker", seconds, Speed, lambda done, total, note="": None)


def _check(name: str, look: Callable[[], tuple[State, str]]) -> Check:
    try:
        return Check(name, *look())
    except Exception as error:
        return Check(name, "problem", f"cannot be checked: {_reason(error)}")


def _reason(error: Exception) -> str:
    """The line of an error that gives the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, WorkerFailed) else lines[0]


def _python() -> tuple[State, str]:
    return "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages() -> tuple[State, str]:
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    return (
        ("problem", f"not installed: {', '.join(missing)}; run `make setup`")
        if missing
        else ("ok", ", ".join(versions))
    )


def _trains_on(speed: Speed) -> Check:
    if speed.device != "cpu":
        return Check("trains on", "ok", f"{speed.device.capitalize()}: {speed.name}")
    blas, cpu = worker.blas_to_preload(), f"the CPU ({speed.name})"
    if blas is None and sys.platform == "linux":
        way_out = "install OpenBLAS (Debian, Ubuntu: apt install libopenblas0-pthread): some 5 to 40 times faster"
        return Check("trains on", "problem", f"{cpu} with the reference BLAS; {way_out}")
    if shutil.which("nvidia-smi"):
        return Check("trains on", "problem", f"{cpu}, though there is an NVIDIA GPU: pip install 'mlx[cuda13]'")
    which = f" with OpenBLAS ({Path(blas).name})" if blas else ""
    return Check("trains on", "note", f"{cpu}{which}, in float32: enough for small bases")


def _speed(speed: Speed) -> tuple[State, str]:
    return "ok", f"{speed.gflops:.0f} GFLOP/s multiplying, {speed.step_gflops:.0f} in a step of training"


def _memory(speed: Speed | None) -> tuple[State, str]:
    text = f"{memory.physical_bytes() / 1e9:.1f} GB, {memory.free_bytes() / 1e9:.1f} GB of it free"
    return "ok", text + (f"; a run may take {speed.limit_bytes / 1e9:.1f} GB ({speed.limit_why})" if speed else "")


def _disk(home: Path) -> tuple[State, str]:
    folder = next(f for f in (home.resolve(), *home.resolve().parents) if f.is_dir())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free at {folder}"
    little = f"{text}; a base of 1 B parameters with its exports takes {FREE_BYTES / 1e9:.0f} GB"
    return ("note", little) if free < FREE_BYTES else ("ok", text)


def _prefect(environment: Mapping[str, str]) -> tuple[State, str]:
    address = environment.get("PREFECT_API_URL")
    if not address:
        return "note", "PREFECT_API_URL is not set: a run starts a temporary server; `make ui` starts one with a UI"
    answer = _ask(f"{address.rstrip('/')}/health")
    if answer is not None:
        return (
            "problem",
            f"no Prefect server at {address} ({answer}); start one with `make ui`, or unset PREFECT_API_URL",
        )
    return "ok", f"a server answers at {address}"


def _ollama(environment: Mapping[str, str]) -> tuple[State, str]:
    address = environment.get("OLLAMA_HOST") or OLLAMA
    address = (address if "://" in address else f"http://{address}").rstrip("/")
    if _ask(f"{address}/api/version") is None:
        return "ok", f"answers at {address}"
    if shutil.which("ollama"):
        return "note", f"installed, but nothing answers at {address}; start it with `ollama serve`"
    return "note", "not installed; needed only to serve the model with it, or to use it as the teacher"


def _ask(address: str) -> str | None:
    """Why `address` does not answer; None when it does."""
    try:
        local = urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")
        opener = build_opener(ProxyHandler({})) if local else build_opener()
        with opener.open(address, timeout=SERVER_SECONDS):
            return None
    except HTTPError as error:
        return f"it answers {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
