"""A tiny teacher of random weights, made on the spot."""

from pathlib import Path

import pytest

from tests.models.exporters.gguf_models import make_model, silent
from understudy.exporters.gguf_convert import convert

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' and m['content'] == 'none' %}"
    "{{ raise_exception('no system role') }}{% endif %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
    "{{ m['content'] }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of two layers with room for 4,096 tokens and a template that knows of thinking."""
    return tiny(tmp_path_factory.mktemp("local"), 4096)


@pytest.fixture(scope="session")
def wide_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with room for the real prompts."""
    return tiny(tmp_path_factory.mktemp("wide"), 16384)


def tiny(folder: Path, window: int) -> Path:
    model = make_model(folder / "fused", max_position_embeddings=window)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    convert(model, folder / "teacher.gguf", None, silent)
    return folder / "teacher.gguf"
