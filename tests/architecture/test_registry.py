"""Every plugin on the menu can be found and used as its interface says; every preset is valid."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from understudy import interfaces
from understudy.catalog import CATALOG
from understudy.config import load
from understudy.errors import ConfigError
from understudy.registry import PLUGINS, resolve

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "deployments" / "presets").glob("*.yaml"))
MENU = [(kind, name) for kind, names in PLUGINS.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), MENU)
def test_every_plugin_keeps_its_interface(kind: str, name: str) -> None:
    plugin = resolve(kind, name)
    assert issubclass(plugin.Options, BaseModel)
    assert plugin.Options.model_config["extra"] == "forbid"
    assert isinstance(plugin.VERSION, int)
    assert getattr(plugin, "INDIFFERENT", set()) <= set(plugin.Options.model_fields)
    protocol = getattr(interfaces, kind.capitalize())
    for method, wanted in inspect.getmembers(protocol, inspect.isfunction):
        if not method.startswith("_"):
            parameters = list(inspect.signature(getattr(plugin, method)).parameters)
            assert parameters == list(inspect.signature(wanted).parameters), f"{plugin.__name__}.{method}"


@pytest.mark.parametrize(("kind", "name"), MENU)
def test_every_option_is_described(kind: str, name: str) -> None:
    undescribed = [n for n, field in resolve(kind, name).Options.model_fields.items() if not field.description]
    assert not undescribed or kind == "gate"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_every_preset_is_valid(preset: Path) -> None:
    assert load(preset).name


def test_the_reference_preset_shows_every_section() -> None:
    text = (ROOT / "deployments" / "presets" / "documents.yaml").read_text(encoding="utf-8")
    from understudy.config import Config

    missing = [name for name in Config.model_fields if f"\n{name}:" not in text and f"\n# {name}:" not in text]
    assert not missing


def test_unknown_plugin_names_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"unknown teacher 'gtp'; choose from .*extractive"):
        resolve("teacher", "gtp")


def test_every_asset_names_a_stage_that_exists() -> None:
    for asset in CATALOG.values():
        assert (ROOT / "understudy" / "stages" / f"{asset.stage}.py").exists()


def test_importing_understudy_loads_no_backend() -> None:
    program = (
        "import sys, understudy, understudy.config, understudy.workspace, understudy.preflight\n"
        "print([m for m in ('prefect', 'mlx', 'llama_cpp', 'pandas', 'transformers') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert process.stdout.strip() == "[]"
