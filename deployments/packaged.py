"""Files shipped with the package: the presets, and the settings of Prefect."""

import os
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from understudy.bases.local_models import INSTALL
from understudy.config import load
from understudy.errors import ConfigError
from understudy.registry import nearest
from understudy.sections import located

FOLDER = Path(__file__).parent
PRESETS = FOLDER / "presets"


def presets() -> list[str]:
    """The names of the presets."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def preset(name: str) -> Path:
    """The file of a preset: a YAML file, or one of `presets`. Raises ConfigError with the nearest name."""
    file, own = Path(name), name.endswith((".yaml", ".yml")) or "/" in name
    if not own and not file.is_file():
        file = PRESETS / f"{name}.yaml"
    if not file.is_file() and own:
        listed = f"the presets that need no file are {', '.join(presets())}, e.g. --preset demo"
        raise ConfigError([f"there is no file {str(file.resolve())!r}; {listed}"])
    if not file.is_file():
        raise ConfigError([f"there is no preset {name!r}{nearest(name, presets())}"])
    return file.resolve()


def default_preset() -> tuple[str, str | None]:
    """The preset of a run that names none, and a sentence where it is `tiny` because the demo's base is not here."""
    base = load(preset("demo")).base
    if not base.options.get("file") or located(base.options["file"]).is_file():
        return "demo", None
    return "tiny", f"the demo's real base is not installed, so a tiny one is trained; for the real one: {INSTALL}"


def configuration(name: str) -> dict[str, Any]:
    """A step of prefect.yaml: the settings of a preset, as the parameter `config` of a flow."""
    return {"config": load(preset(name)).model_dump(mode="json", exclude_unset=True)}


def configure_prefect(environment: MutableMapping[str, str] = os.environ) -> None:
    """Apply prefect.toml to `environment`, without overriding it; call it before Prefect is imported.

    Prefect reads that file in a checkout only, since it looks for it in the current folder.
    """
    settings = tomllib.loads((FOLDER / "prefect.toml").read_text(encoding="utf-8"))
    for name, value in _flat("PREFECT", settings):
        environment.setdefault(name, value)
    environment.setdefault("DO_NOT_TRACK", "1")


def _flat(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`{"a": {"b": 1}}` as PREFECT_A_B and `1`."""
    for key, value in settings.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, Mapping):
            yield from _flat(name, value)
        else:
            yield name, str(value)
