"""
What a training was made from, so that it can be repeated: code, data, base, settings, versions, machine.

Nothing in it identifies the machine or its user: no name, no folder, and no key (a preset has only names of environment
variables; should a value of one of them occur, it is hidden).
"""

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from understudy import memory, registry, store
from understudy.graph import RUN_DIGITS
from understudy.records import AssetRef, DatasetRefs, Host, RunRecord, TrialCard
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "understudy", "mlx", "mlx-lm", "transformers", "tokenizers", "safetensors", "huggingface-hub", "numpy", "pandas",
    "pyarrow", "pydantic", "prefect", "openai", "gguf", "llama-cpp-python", "torch", "peft", "accelerate",
)  # fmt: skip
PLUGINS = ("source", "teacher", "base", "trainer")
HIDDEN = "(hidden)"
_PATH = re.compile(r"(?<![\w.:/~…])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])*([^\s/\\'\"]*)")
_LOGIN = re.compile(r"(?<=://)[^/@\s'\"]+@")


class Surroundings(NamedTuple):
    """The surroundings of a training."""

    began: str
    command: str
    commit: str | None
    dirty: bool | None
    python: str
    packages: dict[str, str]
    host: Host


def surroundings(arguments: Sequence[str] | None = None, root: Path = ROOT) -> Surroundings:
    """The surroundings of a training that starts now; `arguments` are those of this process."""
    commit, dirty = _git(root)
    return Surroundings(
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        command=_command(list(sys.argv if arguments is None else arguments), root),
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        packages=packages(),
        host=Host(
            system=f"{platform.system()} {platform.release()}",
            machine=platform.machine(),
            chip=_chip(),
            cores=os.cpu_count() or 1,
            memory_bytes=memory.physical_bytes(),
        ),
    )


def written(
    workspace: Workspace,
    around: Surroundings,
    fingerprint: str,
    base: AssetRef,
    dataset: DatasetRefs,
    trials: Sequence[TrialCard],
    adapter: AssetRef,
) -> RunRecord:
    """The record of the training that made `adapter`."""
    config, known = workspace.config, workspace.read(base)
    settings = config.model_dump(mode="json", exclude={"machine": {"pool", "place"}}) | {
        name: _filled(workspace, name) for name in PLUGINS
    }
    secrets = [value for name in _environment_names(settings) if (value := os.environ.get(name))]
    return RunRecord(
        channel=config.name,
        run=fingerprint[:RUN_DIGITS],
        **around._replace(command=_hidden(around.command, secrets))._asdict(),
        base=base,
        base_name=_hidden(known.name, secrets),
        base_revision=known.notes.get("revision") or config.base.options.get("revision"),
        dataset=dataset,
        dataset_fingerprint=dataset_fingerprint(dataset),
        settings=_hidden(settings, secrets),
        trainer_version=registry.resolve("trainer", config.trainer.use).VERSION,
        seed=config.seed,
        trials=list(trials),
        fingerprint=fingerprint,
        weights_sha256=weights_digest(workspace.file(adapter)),
        result=workspace.read(adapter),
    )


def dataset_fingerprint(dataset: DatasetRefs) -> str:
    """One digest for train, valid and test."""
    return store.fingerprint([ref.sha256 for ref in (dataset.train, dataset.valid, dataset.test)])


def weights_digest(folder: Path) -> str:
    """The digest of the weights at the top of an adapter's folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def packages() -> dict[str, str]:
    """The versions of what decides a result; packages that are not installed are left out."""
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _filled(workspace: Workspace, section: str) -> dict[str, Any]:
    spec = getattr(workspace.config, section)
    if section == "trainer":  # hosts and similar options identify machines, and do not affect the result
        return {"use": spec.use, **registry.identity(section, spec.use, spec.options)["options"]}
    options = registry.resolve(section, spec.use).Options.model_validate(spec.options)
    return {"use": spec.use, **options.model_dump(mode="json")}


def _git(root: Path) -> tuple[str | None, bool | None]:
    """The commit of `root` and whether files differ from it; None where there is no checkout or no git."""
    if not (root / ".git").exists():
        return None, None
    outputs = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        try:
            process = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None, None
        if process.returncode:
            return None, None
        outputs.append(process.stdout.strip())
    return outputs[0], bool(outputs[1])


def _chip() -> str | None:
    """The processor's name as its manufacturer gives it."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def _command(arguments: list[str], root: Path) -> str:
    first, rest = Path(arguments[0]), arguments[1:]
    program = first.relative_to(root).as_posix() if first.is_relative_to(root) else arguments[0]
    return str(_hidden(shlex.join(["python", program, *rest]), []))


def _environment_names(settings: Any) -> Iterator[str]:
    """The environment variables a preset names: every key that ends in `_env`."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if str(key).endswith("_env") and isinstance(value, str):
                yield value
            yield from _environment_names(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _environment_names(value)


def _hidden(value: Any, secrets: Sequence[str]) -> Any:
    """`value` without secrets, without logins in addresses, and with the last part only of each absolute path."""
    if isinstance(value, Mapping):
        return {key: _hidden(inside, secrets) for key, inside in value.items()}
    if isinstance(value, list):
        return [_hidden(inside, secrets) for inside in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, HIDDEN)
    return _PATH.sub(r"…/\1", _LOGIN.sub("", value.replace(str(Path.home()), "~")))
