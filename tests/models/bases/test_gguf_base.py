"""Laws of a base that is a GGUF file: what comes out of it goes in again bit for bit, or it is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.exporters.gguf_models import (
    LLAMA_3_ROPE,
    NASTY,
    make_model,
    make_sentencepiece,
    make_tokenizer,
    silent,
)
from understudy.bases import gguf_weights, gguf_worker
from understudy.bases.gguf import GgufBase, Unpack
from understudy.errors import ConfigError
from understudy.exporters.gguf_convert import convert
from understudy.gguf import families, header
from understudy.gguf import tokenizer as gguf_tokenizer
from understudy.records import BaseCard


def base(file: Path | str) -> GgufBase:
    return GgufBase(GgufBase.Options(file=str(file)))


def unpack(file: Path, out: Path) -> BaseCard:
    """What the worker does, in this process."""
    out.mkdir()
    return gguf_worker.run(Unpack(file=file, out=out, title=str(file)), silent)


def values(file: Path) -> dict[str, np.ndarray]:
    """Every tensor of a GGUF file in float32, by the gguf package."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    tensors = GGUFReader(file).tensors
    return {t.name: dequantize(t.data, t.tensor_type).reshape(tuple(reversed(t.shape.tolist()))) for t in tensors}


def facts(file: Path) -> dict[str, Any]:
    """The metadata that say what the model is, not what it is called."""
    return {key: value for key, value in header.read(file).metadata.items() if not key.startswith("general.")}


CASES: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in families.known()),
    ("llama", {"rope_scaling": LLAMA_3_ROPE, "tie_word_embeddings": False}),
    ("llama", {"attention_bias": True, "num_key_value_heads": 4, "dtype": "bfloat16"}),
    ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}),
]


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_a_file_of_every_family_comes_out_as_it_went_in(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    convert(make_model(tmp_path / "model", kind, **changes), tmp_path / "first.gguf", None, silent)
    card = unpack(tmp_path / "first.gguf", tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "second.gguf", None, silent)
    first, second = values(tmp_path / "first.gguf"), values(tmp_path / "second.gguf")
    assert {name: value.tobytes() for name, value in first.items()} == {n: v.tobytes() for n, v in second.items()}
    assert facts(tmp_path / "first.gguf") == facts(tmp_path / "second.gguf")
    assert card.parameters == sum(v.size for n, v in first.items() if not n.startswith("rope_"))


@pytest.mark.parametrize("type", ["Q8_0", "Q4_K_M", "BF16"])
def test_a_quantized_file_comes_out_as_f16_of_what_it_stands_for(type: str, f16: Path, tmp_path: Path) -> None:
    from understudy.exporters.gguf_quantize import quantize

    quantize(f16, tmp_path / "first.gguf", type, silent)
    unpack(tmp_path / "first.gguf", tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "second.gguf", None, silent)
    first, second = values(tmp_path / "first.gguf"), values(tmp_path / "second.gguf")
    for name, value in first.items():
        assert np.array_equal(second[name], value.astype(np.float16 if value.ndim > 1 else np.float32)), name


def test_neither_shards_nor_chunks_change_a_weight(f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(f16, tmp_path / "one")
    monkeypatch.setattr(gguf_weights, "SHARD_BYTES", 500_000)
    monkeypatch.setattr(gguf_weights, "CHUNK_VALUES", 5_000)
    unpack(f16, tmp_path / "many")
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) > 2
    for name in ("one", "many"):
        convert(tmp_path / name, tmp_path / f"{name}.gguf", "x", silent)
    one, many = (values(tmp_path / f"{name}.gguf") for name in ("one", "many"))
    assert {name: value.tobytes() for name, value in one.items()} == {n: v.tobytes() for n, v in many.items()}


@pytest.mark.parametrize(("rules", "name"), gguf_tokenizer.PRE.items(), ids=gguf_tokenizer.PRE.values())
def test_every_splitting_rule_comes_back(
    rules: tuple[tuple[str, ...], bool], name: str, folder: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    model = tmp_path / "model"
    model.mkdir()
    make_tokenizer(model, *rules)
    for file in ("config.json", "model.safetensors"):
        (model / file).symlink_to(folder / file)
    convert(model, tmp_path / "file.gguf", None, silent)
    unpack(tmp_path / "file.gguf", tmp_path / "out")
    before, after = (Tokenizer.from_file(str(place / "tokenizer.json")) for place in (model, tmp_path / "out"))
    assert header.read(tmp_path / "file.gguf").metadata["tokenizer.ggml.pre"] == name
    for text in NASTY:
        assert before.encode(text).ids == after.encode(text).ids, text


@pytest.mark.parametrize("first", ["always", "never"])
def test_pieces_of_sentencepiece_come_back(first: str, folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = tmp_path / "model"
    model.mkdir()
    make_sentencepiece(model, first)
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    for file in ("config.json", "model.safetensors"):
        (model / file).symlink_to(folder / file)
    convert(model, tmp_path / "file.gguf", None, silent)
    unpack(tmp_path / "file.gguf", tmp_path / "out")
    before, after = (AutoTokenizer.from_pretrained(place) for place in (model, tmp_path / "out"))
    for text in NASTY:
        assert before.encode(text) == after.encode(text), text
        assert after.decode(after.encode(text, add_special_tokens=False)) == text


def test_the_folder_is_a_model_with_its_ends_and_its_licence(f16: Path, folder: Path, tmp_path: Path) -> None:
    from mlx_lm import load

    (tmp_path / "out").mkdir()
    plugin = base(f16)
    assert plugin.problems() == []
    card = plugin.prepare([], tmp_path / "out", 1, silent)
    _, tokenizer = load(str(tmp_path / "out"))
    assert (card.name, card.architecture, card.notes["quantization"]) == (f16.stem, "llama", "F16")
    assert tokenizer.eos_token_ids == {tokenizer.convert_tokens_to_ids("<|eot_id|>")}
    assert tokenizer.chat_template == (folder / "chat_template.jinja").read_text()
    assert plugin.sizes() == {**(plugin.sizes() or {}), "hidden_size": 256, "num_hidden_layers": 2}


def rewrite(file: Path, out: Path, change: Callable[[bytes], bytes]) -> Path:
    out.write_bytes(change(file.read_bytes()))
    return out


def with_metadata(file: Path, out: Path, changes: dict[str, Any]) -> Path:
    """The same file with other metadata, written by the gguf package; None leaves a key out."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(file)
    fields = {n: (f.contents(), f.types) for n, f in reader.fields.items() if not n.startswith("GGUF.")}
    writer = GGUFWriter(out, changes.get("general.architecture", fields["general.architecture"][0]))
    for key, value in changes.items():
        kinds = {str: GGUFValueType.STRING, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32}
        fields[key] = (value, [kinds[type(value)] if value is not None else None])
    for key, (value, types) in fields.items():
        if value is not None and key != "general.architecture":
            writer.add_key_value(key, value, types[0], types[-1] if len(types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"general.architecture": "rwkv7"}, "'rwkv7' cannot be unpacked; supported: ernie4_5, gemma3, granite, llama"),
        ({"general.architecture": "clip"}, "a vision or audio model"),
        ({"general.type": "adapter"}, "a file of the kind 'adapter'"),
        ({"split.count": 3}, "one of 3 parts"),
        ({"llama.expert_count": 8}, "llama.expert_count = 8 has no place"),
        ({"llama.attention.head_count": 8}, "should be"),
        ({"llama.rope.scaling.type": "longrope"}, "rope.scaling.type = 'longrope' has no place"),
        ({"tokenizer.ggml.model": "bert"}, "of the kind 'bert'"),
        ({"tokenizer.ggml.pre": "viking"}, "the rule 'viking'"),
        ({"tokenizer.chat_template": None}, "has no chat template"),
        ({"tokenizer.ggml.eos_token_id": None}, "names no end token"),
    ],
)
def test_what_cannot_be_written_again_is_refused_in_one_sentence(
    changes: dict[str, Any], words: str, f16: Path, tmp_path: Path
) -> None:
    file = with_metadata(f16, tmp_path / "model.gguf", changes)
    [problem] = base(file).problems()
    assert words in problem and str(file) in problem and "\n" not in problem


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_file_cut_short_is_refused_before_anything_is_written(share: float, f16: Path, tmp_path: Path) -> None:
    cut = rewrite(f16, tmp_path / "cut.gguf", lambda whole: whole[: int(len(whole) * share)])
    [problem] = base(cut).problems()
    assert "cut short" in problem or "not a GGUF" in problem
    with pytest.raises(ConfigError):
        unpack_by_plugin(cut, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def unpack_by_plugin(file: Path, out: Path) -> BaseCard:
    out.mkdir()
    return base(file).prepare([], out, 1, silent)


def test_tokens_that_llama_cpp_reads_otherwise_are_refused_by_name(f16: Path, tmp_path: Path) -> None:
    read = header.read(f16)
    metadata = read.metadata | {"tokenizer.ggml.pre": "smollm"}  # the file itself says llama-bpe
    from understudy.bases import gguf_tokenizer as of_base

    with pytest.raises(ConfigError, match="splits '.*' into other tokens than in llama.cpp"):
        of_base.write(f16, metadata, tmp_path, 512)
    assert not list(tmp_path.iterdir())


def test_no_room_is_said_before_a_weight_is_written(f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_weights.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ConfigError, match="unpacked it takes"):
        unpack(f16, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_another_content_is_another_base_and_another_place_is_not(f16: Path, tmp_path: Path) -> None:
    moved = rewrite(f16, tmp_path / "moved.gguf", lambda whole: whole)
    tuned = rewrite(f16, tmp_path / "tuned.gguf", lambda whole: whole[:-100] + bytes(100))
    assert base(moved).contents() == base(f16).contents() != base(tuned).contents()


def test_a_missing_file_is_named_with_the_nearest(f16: Path) -> None:
    [problem] = base(f16.with_name("modell.F16.gguf")).problems()
    assert f"did you mean {f16.name!r}?" in problem


def pull(home: Path, name: str, file: Path, kind: str = "model") -> None:
    """Keep a file as Ollama does."""
    path, _, tag = name.partition(":")
    manifest = home / "manifests" / "registry.ollama.ai" / "library" / path / tag
    manifest.parent.mkdir(parents=True)
    (home / "blobs").mkdir(exist_ok=True)
    (home / "blobs" / "sha256-1234").symlink_to(file)
    layer = {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": "sha256:1234"}
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))


def test_a_model_of_ollama_is_found_by_its_name(f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    assert "has no models" in base("ollama:candle").problems()[0]
    pull(tmp_path, "candle:latest", f16)
    assert base("ollama:candle").problems() == base("ollama:candle:latest").problems() == []
    [problem] = base("ollama:candel").problems()
    assert "there is ollama:candle" in problem


def test_a_model_of_lm_studio_is_found_by_its_name(f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    place = tmp_path / ".lmstudio" / "models" / "maker" / "Candle-GGUF"
    place.mkdir(parents=True)
    (place / "candle-Q8_0.gguf").symlink_to(f16)
    (place / "mmproj-candle.gguf").symlink_to(f16)
    assert base("lmstudio:maker/Candle-GGUF").problems() == []
    assert "there is lmstudio:maker/Candle-GGUF" in base("lmstudio:maker/candle").problems()[0]
    (place / "candle-F16.gguf").symlink_to(f16)
    [problem] = base("lmstudio:maker/Candle-GGUF").problems()
    assert "has 2 files" in problem and base("lmstudio:maker/Candle-GGUF/candle-F16.gguf").problems() == []
