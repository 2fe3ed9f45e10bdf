"""Laws of the rehearsal: what an export would refuse is refused before a model is trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.exporters.gguf_models import make_tokenizer, silent
from understudy.exporters import rehearsal
from understudy.exporters.gguf import GgufExporter
from understudy.exporters.gguf_jobs import Rehearse
from understudy.gguf.tokenizer import DIGITS, GPT_2

CHAT = "{% for m in messages %}{{ m['role'] }}{{ m['content'] }}<|eot_id|>{% endfor %}"


def rehearse(model: Path, llama_cpp_dir: Path | None = None) -> list[str]:
    return rehearsal.run(Rehearse(model=model, llama_cpp_dir=llama_cpp_dir), silent)


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A copy that may be changed; its weights are a link."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).symlink_to(file) if file.suffix == ".safetensors" else (copy / file.name).write_bytes(
            file.read_bytes()
        )
    (copy / "chat_template.jinja").write_text(CHAT)
    return copy


def changed(name: str, **settings: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        file = model / name
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    return change


def with_another_token(model: Path) -> None:
    raw = json.loads((model / "tokenizer.json").read_text())
    raw["added_tokens"].append(raw["added_tokens"][0] | {"id": 640, "content": "<|more|>"})
    (model / "tokenizer.json").write_text(json.dumps(raw))


def with_another_splitter(model: Path) -> None:
    raw = json.loads((model / "tokenizer.json").read_text())
    raw["pre_tokenizer"] = {"type": "Whitespace"}
    (model / "tokenizer.json").write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed("config.json", model_type="lfm2"), "itself cannot write model_type 'lfm2' as GGUF"),
        (changed("config.json", rope_scaling={"rope_type": "dynamic", "factor": 2.0}), "rope type 'dynamic'"),
        (changed("config.json", partial_rotary_factor=0.5), "partial_rotary_factor 0.5"),
        (changed("config.json", tie_word_embeddings=False), "no tensor lm_head.weight"),
        (changed("tokenizer_config.json", eos_token=None), "no end token"),
        (with_another_token, "number 640"),
        (with_another_splitter, "splits text by"),
    ],
)
def test_what_an_export_would_refuse_is_refused_before(change: Callable[[Path], None], words: str, model: Path) -> None:
    assert rehearse(model) == GgufExporter(GgufExporter.Options()).unwritable(model) == []
    change(model)
    [problem] = rehearse(model)
    assert words in problem


def test_a_class_that_drops_digits_no_longer_keeps_a_model_from_its_file(model: Path) -> None:
    make_tokenizer(model, (DIGITS, GPT_2), whole_words=False)
    changed("tokenizer_config.json", tokenizer_class="GPT2Tokenizer")(model)
    assert rehearse(model) == []


def test_the_process_of_its_own_says_the_same(model: Path) -> None:
    changed("config.json", model_type="lfm2")(model)
    assert GgufExporter(GgufExporter.Options()).rehearse(model, silent) == rehearse(model)
    other = GgufExporter(GgufExporter.Options(llama_cpp_dir=model))
    assert other.unwritable(model) == rehearse(model, model) == []
