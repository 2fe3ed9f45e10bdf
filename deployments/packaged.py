"""Files shipped with the package: the presets, and the settings of Prefect."""

import os
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from understudy.bases.local_models import INSTALL
from understudy.config import load
from understudy.errors import ConfigError
from understudy.registry import nearest
from understudy.sections import located

FOLDER = Path(__file__).parent
PRESETS = FOLDER / "presets"
PROFILES = Path.home() / ".prefect" / "profiles.toml"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


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


def configure_prefect(environment: MutableMapping[str, str] = os.environ, home: Path | None = None) -> None:
    """Apply prefect.toml to `environment`, without overriding it; call it before Prefect is imported.

    Prefect reads that file in a checkout only, since it looks for it in the current folder. With `home`, Prefect's own
    files go there unless the environment says where its files or its server are: a run neither uses nor migrates the
    database of other programs, and sends nothing to the server that a profile was made for.
    """
    settings = tomllib.loads((FOLDER / "prefect.toml").read_text(encoding="utf-8"))
    for name, value in _flat("PREFECT", settings):
        environment.setdefault(name, value)
    environment.setdefault("DO_NOT_TRACK", "1")
    if home and not {"PREFECT_HOME", "PREFECT_API_URL"} & environment.keys():
        environment["PREFECT_HOME"] = str(prefect_files(home))
        with suppress(OSError):  # a home that cannot be written to is said later, in one sentence
            prefect_files(home).mkdir(parents=True, exist_ok=True)  # Prefect warns where the folder above is missing
        if environment.get("PREFECT_PROFILE"):  # which chooses one of the user's profiles
            environment.setdefault("PREFECT_PROFILES_PATH", str(PROFILES))
    _bypass_proxies(environment)


def prefect_files(home: Path) -> Path:
    """Where runs of this home that nobody deployed keep Prefect's database and results."""
    return home / "data" / ".prefect" / "local"


def profile_server() -> tuple[str, str] | None:
    """The user's active profile and the server it names, which a run of ours does not use by itself."""
    try:
        known = tomllib.loads(PROFILES.read_text(encoding="utf-8"))
        name = str(known["active"])
        return name, str(known["profiles"][name]["PREFECT_API_URL"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _bypass_proxies(environment: MutableMapping[str, str]) -> None:
    """Requests to this machine go to it and to no proxy: Prefect's own, and those to a model that is served here."""
    if not (proxies := urllib.request.getproxies()):
        return
    for scheme, address in proxies.items():  # those of the system's own settings: a variable of ours would hide them
        if address and scheme != "no" and f"{scheme}_proxy".upper() not in environment:
            environment.setdefault(f"{scheme}_proxy", address)
    for name in ("no_proxy", "NO_PROXY"):
        known = [host for host in environment.get(name, "").split(",") if host.strip()]
        environment[name] = ",".join([*known, *(host for host in LOOPBACK if host not in known)])


def _flat(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`{"a": {"b": 1}}` as PREFECT_A_B and `1`."""
    for key, value in settings.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, Mapping):
            yield from _flat(name, value)
        else:
            yield name, str(value)
