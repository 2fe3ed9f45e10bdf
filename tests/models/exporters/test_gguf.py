"""Laws of the GGUF exporter, with llama.cpp and mlx as judges."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.exporters.gguf_models import (
    LLAMA_3_ROPE,
    NASTY,
    TEMPLATE,
    make_model,
    make_tokenizer,
    mlx_logits,
    silent,
)
from understudy.errors import ConfigError, ExportError
from understudy.exporters.gguf import GgufExporter, known_types
from understudy.exporters.gguf_convert import convert
from understudy.exporters.gguf_quantize import TYPES, quantize
from understudy.gguf import families, header, weights
from understudy.gguf import tokenizer as gguf_tokenizer


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((kind, {}) for kind in families.known()),
        ("llama", {"tie_word_embeddings": False, "dtype": "bfloat16", "shards": 3}),
        ("llama", {"rope_scaling": LLAMA_3_ROPE, "dtype": "float16"}),
        ("llama", {"attention_bias": True, "num_key_value_heads": 4}),
    ],
)
def test_llama_cpp_computes_what_mlx_does(
    kind: str, changes: dict[str, Any], tmp_path: Path, load: Callable[..., Any]
) -> None:
    folder = make_model(tmp_path / "fused", kind, **changes)
    convert(folder, tmp_path / "model.gguf", None, silent)
    model = load(tmp_path / "model.gguf", logits_all=True)
    ids = model.tokenize("\n".join(NASTY[:6]).encode(), add_bos=True, special=True)
    model.eval(ids)
    assert np.abs(np.array(model.scores[: len(ids)]) - mlx_logits(folder, ids)).max() < 0.02
    names = {tensor.name for tensor in header.tensors(tmp_path / "model.gguf")}
    tied = json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    assert ("output.weight" in names) is not tied


@pytest.mark.parametrize(("rules", "name"), gguf_tokenizer.PRE.items(), ids=gguf_tokenizer.PRE.values())
def test_llama_cpp_splits_text_as_the_tokenizer_does(
    rules: tuple[tuple[str, ...], bool], name: str, folder: Path, tmp_path: Path, load: Callable[..., Any]
) -> None:
    from tokenizers import Tokenizer

    make_tokenizer(tmp_path, *rules)
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(folder / file)
    convert(tmp_path, tmp_path / "model.gguf", None, silent)
    model, own = load(tmp_path / "model.gguf", vocab_only=True), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert model.metadata["tokenizer.ggml.pre"] == name
    for text in [*NASTY, " ".join(NASTY)]:
        assert model.tokenize(text.encode(), add_bos=True, special=True) == own.encode(text).ids, text
        bare = own.encode(text, add_special_tokens=False).ids
        assert model.tokenize(text.encode(), add_bos=False, special=True) == bare, text


def test_the_file_knows_its_turns(f16: Path, load: Callable[..., Any]) -> None:
    model = load(f16, vocab_only=True)
    assert model.metadata["tokenizer.chat_template"] == TEMPLATE
    assert (model.token_bos(), model.token_eos()) == (0, 1)
    assert model.metadata["tokenizer.ggml.add_bos_token"] == "true"
    assert model.metadata["tokenizer.ggml.add_eos_token"] == "false"


def test_without_its_own_file_the_template_is_tokenizer_configs(folder: Path, tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": "of the config"}))
    tokenizer = gguf_tokenizer.Tokenizer(tmp_path, families.read(folder)[0])
    assert tokenizer.chat_template == "of the config"


def test_a_chunk_boundary_changes_nothing(
    f16: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "CHUNK_VALUES", 5000)
    convert(folder, tmp_path / "again.gguf", None, silent)
    assert (tmp_path / "again.gguf").read_bytes() == f16.read_bytes()


def test_every_type_is_llama_cpps_own() -> None:
    import llama_cpp

    assert {name: getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}") for name in known_types()} == TYPES


@pytest.mark.parametrize("type", known_types())
def test_every_type_can_be_made(type: str, one_layer: Path, tmp_path: Path) -> None:
    quantize(one_layer, tmp_path / "model.gguf", type, silent)
    kinds, bits = header.describe(tmp_path / "model.gguf")
    assert sum(kinds.values()) == 11
    assert type.partition("_")[0] in {kind.partition("_")[0] for kind in kinds}
    assert bits <= header.describe(one_layer)[1]


def test_an_unknown_type_is_refused_with_the_nearest_one() -> None:
    exporter = GgufExporter(GgufExporter.Options())
    assert exporter.problems(["Q8_0", "Q4_K_M"]) == []
    assert exporter.problems(["q4_k_m"]) == ["unknown quantization 'q4_k_m'; did you mean 'Q4_K_M'?"]
    with pytest.raises(ConfigError, match="choose from BF16"):
        exporter.quantize(Path("a.gguf"), Path("b.gguf"), "tiny", None, silent)


@pytest.mark.parametrize("content", [b"", b"not a model", b"GGUF" + bytes(40)])
def test_a_source_that_is_no_model_is_refused_in_llama_cpps_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ExportError, match="could not write it as Q8_0"):
        quantize(tmp_path / "bad.gguf", tmp_path / "model.gguf", "Q8_0", silent)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.gguf"]


def test_what_is_described_is_what_gguf_reads(f16: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader

    quantize(f16, tmp_path / "model.gguf", "Q4_K_M", silent)
    for file in (f16, tmp_path / "model.gguf"):
        read = GGUFReader(file)
        start = read.data_offset
        theirs = [(t.name, t.tensor_type.name, t.n_elements, t.n_bytes, t.data_offset - start) for t in read.tensors]
        assert [(t.name, t.type, t.values, t.bytes, t.offset) for t in header.tensors(file)] == theirs


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.01, 0.02, 0.5, 0.99999])
def test_a_file_cut_short_is_told_from_a_whole_one(share: float, f16: Path, tmp_path: Path) -> None:
    whole = f16.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ExportError, match=r"cut short|not a GGUF"):
        header.describe(tmp_path / "cut.gguf")


def test_a_damaged_count_is_an_error_and_not_a_wait(f16: Path, tmp_path: Path) -> None:
    whole = bytearray(f16.read_bytes())
    whole[8:16] = struct.pack("<Q", 2**63)
    (tmp_path / "damaged.gguf").write_bytes(whole)
    with pytest.raises(ExportError, match="damaged"):
        header.describe(tmp_path / "damaged.gguf")


def test_the_exporter_works_in_a_process_of_its_own_and_tells_how_far_it_is(folder: Path, tmp_path: Path) -> None:
    exporter, progress = GgufExporter(GgufExporter.Options(name="Candle Lectures")), []
    f16, small = tmp_path / "gguf" / "model.F16.gguf", tmp_path / "gguf" / "model.Q8_0.gguf"
    exporter.convert(folder, f16, "F16", lambda done, total, note="": progress.append((done, total)))
    assert progress[0] == (0, 20) and progress[-1] == (20, 20)
    exporter.quantize(f16, small, "Q8_0", None, lambda done, total, note="": progress.append((done, total)))
    assert progress[-2:] == [(0, 1), (1, 1)]
    kinds, bits, fallbacks = exporter.describe(small, "Q8_0")
    assert kinds == {"F32": 5, "Q8_0": 15} and bits < 9 and fallbacks == []
    assert b"Candle Lectures" in small.read_bytes()[:500]
    assert sorted(tmp_path.joinpath("gguf").iterdir()) == [f16, small]


def test_a_refusal_in_the_worker_reaches_the_caller(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ExportError, match="cannot write model_type 'mamba'"):
        GgufExporter(GgufExporter.Options()).convert(tmp_path, tmp_path / "model.gguf", "F16", silent)


def test_importing_the_plugin_imports_no_backend() -> None:
    code = "import sys, understudy.exporters.gguf; print({'numpy', 'gguf', 'llama_cpp', 'mlx'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
