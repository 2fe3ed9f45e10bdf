"""Laws of the section `export` of a preset: what cannot be made is refused before anything is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.exporters.gguf_models import silent
from tests.models.exporters.test_gguf_types import STAND_IN
from understudy.config import load
from understudy.errors import ConfigError, ExportError
from understudy.exporters import converter
from understudy.exporters.converter import PROGRAM as CONVERTER
from understudy.exporters.gguf import GgufExporter
from understudy.graph import fingerprint_of
from understudy.workspace import Workspace

PRESET = Path(__file__).resolve().parents[3] / "deployments" / "presets" / "documents.yaml"


def exporter(folder: Path | None) -> GgufExporter:
    """The exporter of a preset that names `folder` as llama.cpp's."""
    exporter = load(PRESET, {"export.llama_cpp_dir": str(folder) if folder else None}).exporter()
    assert isinstance(exporter, GgufExporter)
    return exporter


@pytest.mark.parametrize(
    ("first", "types", "words"),
    [
        ("F16", ["F16", "Q8_0"], "the first file is F16 already; take F16 out of types"),
        ("BF16", ["Q8_0", "BF16"], "the first file is BF16 already; take BF16 out of types"),
        ("Q8_0", ["Q4_K_M"], "Q4_K_M cannot be made of Q8_0 weights; set first: F16, or types: []"),
        ("Q4_K_M", [], "export.first: input should be 'F16', 'BF16' or 'Q8_0' (got 'Q4_K_M')"),
    ],
)
def test_types_that_the_first_file_cannot_become_are_refused(first: str, types: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(PRESET, {"export.first": first, "export.types": types})
    assert words in str(refusal.value)


@pytest.mark.parametrize(("first", "types"), [("BF16", ["F16", "Q8_0"]), ("F16", ["BF16"]), ("Q8_0", []), ("F16", [])])
def test_whatever_can_be_made_of_the_first_file_may_be_asked_for(first: str, types: list[str]) -> None:
    settings = load(PRESET, {"export.first": first, "export.types": types}).export
    assert (settings.first, settings.types) == (first, types)


def test_the_first_file_decides_what_is_made_and_llama_cpps_folder_does_not(tmp_path: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        config = load(PRESET, {f"export.{name}": value for name, value in changes.items()})
        return fingerprint_of(Workspace(home=tmp_path, config=config), "f16")

    assert fingerprint(first="BF16") != fingerprint()
    assert fingerprint(llama_cpp_dir=str(tmp_path), types=["Q6_K"]) == fingerprint()


def test_a_folder_without_llama_cpps_converter_is_a_problem_of_the_preset(tmp_path: Path) -> None:
    assert exporter(tmp_path).problems(["Q8_0"]) == [
        f"export.llama_cpp_dir: {tmp_path} holds no {CONVERTER}; name the folder of llama.cpp"
    ]
    (tmp_path / CONVERTER).touch()
    assert exporter(tmp_path).problems(["Q8_0"]) == [] == exporter(None).problems(["Q8_0"])


def test_the_folder_of_llama_cpp_reaches_the_process_that_converts(tmp_path: Path) -> None:
    model, out = tmp_path / "good", tmp_path / "model.gguf"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (tmp_path / CONVERTER).write_text(STAND_IN)
    with pytest.raises(ExportError, match="install llama.cpp's own converter once"):
        exporter(None).convert(model, out, "F16", silent)
    exporter(tmp_path).convert(model, out, "F16", silent)
    assert out.read_bytes() == b"GGUF f16" and not exporter(tmp_path).knows(model)


def test_an_installed_converter_is_used_unasked(tmp_path: Path) -> None:
    place = converter.folder()
    place.mkdir(parents=True)
    (place / CONVERTER).write_text(STAND_IN)
    assert converter.installed() is None  # a broken-off installation is none
    (place / ".ready").touch()
    model, out = tmp_path / "good", tmp_path / "model.gguf"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    exporter(None).convert(model, out, "BF16", silent)
    assert out.read_bytes() == b"GGUF bf16" and exporter(None).unwritable(model) == []
