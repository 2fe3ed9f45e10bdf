"""One tiny llama, as a folder and as f16 GGUF, for every law of the exporter."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.exporters.gguf_models import make_model, silent
from understudy.exporters import converter
from understudy.exporters.gguf_convert import convert


@pytest.fixture(autouse=True)
def no_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp's own converter is not installed, whatever this machine has."""
    monkeypatch.setattr(converter, "folder", lambda: tmp_path / "converter")


@pytest.fixture(scope="session")
def load() -> Iterator[Callable[..., Any]]:
    """Load a GGUF file in llama.cpp, and let it go at the end."""
    from llama_cpp import Llama

    loaded: list[Llama] = []

    def loader(file: Path, **options: Any) -> Llama:
        loaded.append(Llama(str(file), n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False, **options))
        return loaded[-1]

    yield loader
    for model in loaded:
        model.close()


@pytest.fixture(scope="session")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest f16 file whose rows the K types can take."""
    made = tmp_path_factory.mktemp("one-layer")
    convert(make_model(made / "fused", num_hidden_layers=1, intermediate_size=256), made / "f16.gguf", None, silent)
    return made / "f16.gguf"
