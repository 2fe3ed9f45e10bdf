"""One tiny llama, as a folder and as an F16 file, for the tests that read or write GGUF."""

from pathlib import Path

import pytest

from tests.models.exporters.gguf_models import make_model, silent
from understudy.exporters.gguf_convert import convert


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied llama in float32."""
    return make_model(tmp_path_factory.mktemp("tied") / "fused")


@pytest.fixture(scope="session")
def f16(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That llama as GGUF."""
    file = tmp_path_factory.mktemp("gguf") / "model.F16.gguf"
    convert(folder, file, None, silent)
    return file
