"""Laws of what the f16 file may be instead: bf16, Q8_0, a SentencePiece vocabulary, llama.cpp's own converter."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.exporters.gguf_models import (
    BOS,
    END,
    NASTY,
    OWN_SIZES,
    make_model,
    make_sentencepiece,
    silent,
    write_sentencepiece,
)
from understudy.errors import ExportError
from understudy.exporters.gguf_convert import TYPES, convert
from understudy.exporters.gguf_quantize import quantize
from understudy.gguf import header


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("type", TYPES)
def test_every_dtype_becomes_what_the_gguf_package_makes_of_it(type: str, dtype: str, tmp_path: Path) -> None:
    import mlx.core as mx
    from gguf import GGMLQuantizationType, GGUFReader
    from gguf.quants import quantize as reference

    folder = make_model(tmp_path / "fused", "qwen3", dtype=dtype)
    convert(folder, tmp_path / "model.gguf", None, silent, type)
    read = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    weights = mx.load(str(folder / "model.safetensors"))
    for ours, theirs in (("token_embd", "model.embed_tokens"), ("blk.1.ffn_down", "model.layers.1.mlp.down_proj")):
        tensor = read[f"{ours}.weight"]
        values = np.array(weights[f"{theirs}.weight"].astype(mx.float32))
        assert tensor.tensor_type.name == type
        expected = reference(values, GGMLQuantizationType[type])
        assert np.array_equal(np.asarray(tensor.data).view(np.uint8), expected.view(np.uint8))
    norm = np.array(weights["model.norm.weight"].astype(mx.float32))
    assert np.array_equal(read["output_norm.weight"].data, norm)


def test_q8_0_is_what_llama_cpp_makes_of_the_bf16_file(tmp_path: Path) -> None:
    from gguf import GGUFReader

    folder = make_model(tmp_path / "fused", dtype="bfloat16")
    convert(folder, tmp_path / "direct.gguf", None, silent, "Q8_0")
    convert(folder, tmp_path / "bf16.gguf", None, silent, "BF16")
    quantize(tmp_path / "bf16.gguf", tmp_path / "quantized.gguf", "Q8_0", silent)
    direct, quantized = (
        {t.name: t for t in GGUFReader(tmp_path / f"{name}.gguf").tensors} for name in ("direct", "quantized")
    )
    for name, tensor in direct.items():
        assert tensor.tensor_type == quantized[name].tensor_type
        different = np.asarray(tensor.data).view(np.uint8) != np.asarray(quantized[name].data).view(np.uint8)
        assert different.mean() < 0.001  # one multiplies by a reciprocal, the other divides


def test_an_infinite_value_is_named_whatever_is_written(tmp_path: Path) -> None:
    import mlx.core as mx

    from tests.models.exporters.gguf_models import save

    folder = make_model(tmp_path / "fused", dtype="bfloat16")
    weights = dict(mx.load(str(folder / "model.safetensors")))
    weights["model.layers.0.mlp.up_proj.weight"][3, 3] = float("inf")
    save(folder, weights)
    for type in TYPES:
        with pytest.raises(ExportError, match=r"layers\.0\.mlp\.up_proj\.weight.* infinity"):
            convert(folder, tmp_path / "model.gguf", None, silent, type)


def test_a_value_only_bf16_has_room_for_is_refused_for_f16_with_that_advice(tmp_path: Path) -> None:
    import mlx.core as mx

    from tests.models.exporters.gguf_models import save

    folder = make_model(tmp_path / "fused", dtype="bfloat16")
    weights = dict(mx.load(str(folder / "model.safetensors")))
    weights["model.layers.0.mlp.up_proj.weight"][3, 3] = 1e6
    save(folder, weights)
    with pytest.raises(ExportError, match=r"f16.*bf16 has room|F16 ends at 65504"):
        convert(folder, tmp_path / "model.gguf", None, silent)
    convert(folder, tmp_path / "model.gguf", None, silent, "BF16")


def test_a_type_that_is_no_direct_one_is_refused_with_the_way_to_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'Q4_K_M' cannot be written directly; choose from F16, BF16, Q8_0"):
        convert(folder, tmp_path / "model.gguf", None, silent, "Q4_K_M")


def test_rows_no_block_divides_are_told_with_the_type_they_got(f16: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "fused", hidden_size=64, head_dim=16)
    convert(folder, tmp_path / "f16.gguf", None, silent)
    for source, kinds in ((f16, []), (tmp_path / "f16.gguf", ["Q5_0", "Q8_0"])):
        quantize(source, tmp_path / "small.gguf", "Q4_K_M", silent)
        sentences = header.fallbacks(tmp_path / "small.gguf", "Q4_K_M")
        assert [sentence.split()[3] for sentence in sentences] == kinds
        assert all("instead of Q4_K_M: their rows of 64 values" in sentence for sentence in sentences)


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("first", ["always", "never"])
def test_llama_cpp_splits_text_as_sentencepiece_does(
    first: str, with_scores: bool, folder: Path, tmp_path: Path, load: Callable[..., Any]
) -> None:
    from tokenizers import Tokenizer

    make_sentencepiece(tmp_path, first)
    if with_scores:
        write_sentencepiece(tmp_path)
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(folder / file)
    convert(tmp_path, tmp_path / "model.gguf", None, silent)
    model, own = load(tmp_path / "model.gguf", vocab_only=True), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert model.metadata["tokenizer.ggml.model"] == "llama"
    for text in [*NASTY, " ".join(NASTY)]:
        assert model.tokenize(text.encode(), add_bos=True, special=True) == own.encode(text).ids, text


def test_a_chat_is_split_alike_where_only_its_first_piece_gets_a_space(
    folder: Path, tmp_path: Path, load: Callable[..., Any]
) -> None:
    from tokenizers import Tokenizer

    make_sentencepiece(tmp_path, "first")
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(folder / file)
    convert(tmp_path, tmp_path / "model.gguf", None, silent)
    model, own = load(tmp_path / "model.gguf", vocab_only=True), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    chat = f"{BOS}words and words{END} more words{END}"
    assert model.tokenize(chat.encode(), add_bos=False, special=True) == own.encode(chat, add_special_tokens=False).ids


def test_a_tokenizer_model_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    make_sentencepiece(tmp_path, "always")
    (tmp_path / "tokenizer.model").write_bytes(b"\xff\xff not a message")
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(folder / file)
    with pytest.raises(ExportError, match=r"tokenizer\.model: cannot be read as a SentencePiece model"):
        convert(tmp_path, tmp_path / "model.gguf", None, silent)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 1]}, "every fourth layer only"),
        ("gemma3_text", {"query_pre_attn_scalar": 100}, "query_pre_attn_scalar 100"),
        ("gemma3_text", {"sliding_window_pattern": 2}, "every sixth layer only"),
        ("granite", {"head_dim": 32}, "head_dim 32"),
        ("granite", {"logits_scaling": None}, "logits_scaling"),
        ("granitemoehybrid", {"layer_types": ["mamba", "attention"]}, "Mamba layers or experts"),
        ("phi3", {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}, "need 24"),
        ("llama", {"partial_rotary_factor": 0.5}, "rotates all"),
    ],
)
def test_what_llama_cpp_fixes_for_a_family_cannot_differ(
    kind: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    from tests.models.exporters.gguf_models import SIZES

    config = {"model_type": kind, "vocab_size": 640} | SIZES | OWN_SIZES.get(kind, {}) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=words):
        convert(tmp_path, tmp_path / "model.gguf", None, silent)


def test_the_names_of_transformers_5_describe_the_same_gemma(tmp_path: Path, load: Callable[..., Any]) -> None:
    folder = make_model(tmp_path / "fused", "gemma3_text")
    convert(folder, tmp_path / "old.gguf", "same", silent)
    config = json.loads((folder / "config.json").read_text())
    scaling, theta, local = (config.pop(name) for name in ("rope_scaling", "rope_theta", "rope_local_base_freq"))
    config["rope_parameters"] = {
        "full_attention": scaling | {"rope_theta": theta},
        "sliding_attention": {"rope_type": "default", "rope_theta": local},
    }
    config["layer_types"] = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    (folder / "config.json").write_text(json.dumps(config))
    convert(folder, tmp_path / "new.gguf", "same", silent)
    assert (tmp_path / "new.gguf").read_bytes() == (tmp_path / "old.gguf").read_bytes()


STAND_IN = """import sys
model, out, type = sys.argv[1], sys.argv[3], sys.argv[5]
open(out, "wb").write(f"GGUF {type}".encode()) if "good" in model else sys.exit("no such architecture")
"""


def test_another_family_is_left_to_llama_cpps_converter(tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "mamba"}')
    (tmp_path / "llama.cpp").mkdir()
    with pytest.raises(ExportError, match=r"holds no convert_hf_to_gguf\.py"):
        convert(folder, tmp_path / "model.gguf", None, silent, llama_cpp_dir=tmp_path / "llama.cpp")
    (tmp_path / "llama.cpp" / "convert_hf_to_gguf.py").write_text(STAND_IN)
    convert(folder, tmp_path / "model.gguf", None, silent, "BF16", llama_cpp_dir=tmp_path / "llama.cpp")
    assert (tmp_path / "model.gguf").read_bytes() == b"GGUF bf16"
    folder = folder.rename(tmp_path / "bad")
    with pytest.raises(ExportError, match=r"(?s)could not convert .*no such architecture"):
        convert(folder, tmp_path / "other.gguf", None, silent, llama_cpp_dir=tmp_path / "llama.cpp")
    assert not (tmp_path / "other.gguf").exists()
