"""A tiny model of random weights behind Llama 3's turn marks, as a folder and as a GGUF file."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.models.exporters.gguf_models import make_model, silent
from understudy.bases.byte_bpe import TEMPLATE
from understudy.exporters.gguf_convert import convert
from understudy.serving.model import Model
from understudy.serving.server import Server


@pytest.fixture(scope="session")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with room for 2,048 tokens."""
    model = make_model(tmp_path_factory.mktemp("serving") / "fused", max_position_embeddings=2048)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    return model


@pytest.fixture(scope="session")
def gguf(fused: Path) -> Path:
    """Its file."""
    return as_gguf(fused, "tiny")


@pytest.fixture(scope="session")
def server(gguf: Path) -> Iterator[Server]:
    """The file, served on any free port."""
    server = Server(Model(gguf), 0)
    yield server
    server.close()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    """The real client of that server."""
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


def as_gguf(model: Path, name: str) -> Path:
    """The folder `model` as a GGUF file beside it."""
    file = model.parent / f"{name}.gguf"
    convert(model, file, None, silent)
    return file
