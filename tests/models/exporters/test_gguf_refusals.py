"""What cannot be written as GGUF is refused before anything is left behind, and by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.exporters.gguf_models import save, silent
from understudy.errors import ExportError
from understudy.exporters import gguf_quantize
from understudy.exporters.gguf_convert import convert
from understudy.gguf import header


def edit_json(file: str, **changes: Any) -> Callable[[Path], None]:
    """A change to the top level of a JSON file of the folder."""

    def edit(folder: Path) -> None:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))

    return edit


def edit_weights(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A change to the tensors of the folder."""

    def edit(folder: Path) -> None:
        import mlx.core as mx

        weights = dict(mx.load(str(folder / "model.safetensors")))
        mx.eval(*weights.values())
        change(weights)
        save(folder, weights)

    return edit


def put(name: str, value: float) -> Callable[[Path], None]:
    """One wrong number in the middle of a tensor."""

    def change(weights: dict[str, Any]) -> None:
        weights[name][7] = value

    return edit_weights(change)


def shard_and_lose(folder: Path) -> None:
    import mlx.core as mx

    save(folder, dict(mx.load(str(folder / "model.safetensors"))), shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()


def cut(file: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / file).write_bytes((folder / file).read_bytes()[:-100])

    return edit


def pack(weights: dict[str, Any]) -> None:
    import mlx.core as mx

    weights["model.layers.0.mlp.up_proj.weight"] = mx.zeros((512, 32), mx.uint32)


OTHER_SPLIT = {"type": "Split", "pattern": {"Regex": "[aeiou]+"}, "behavior": "Isolated", "invert": False}
Q_PROJ = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (edit_json("config.json", model_type="mamba"), ["'mamba'", "llama, mistral", "llama_cpp_dir"]),
        (
            edit_json("config.json", architectures=["LlamaForSequenceClassification"]),
            ["LlamaForSequenceClassification"],
        ),
        (edit_json("config.json", hidden_size=None), ["hidden_size"]),
        (edit_json("config.json", rope_scaling={"rope_type": "dynamic"}), ["'dynamic'", "llama3"]),
        (edit_json("config.json", rope_scaling={"rope_type": "linear", "warp": 2}), ["warp"]),
        (edit_json("config.json", num_attention_heads=8), ["o_proj", "(256, 512)"]),
        (edit_json("config.json", vocab_size=300), ["300", "another model"]),
        (edit_json("config.json", num_hidden_layers=3), ["model.layers.2", "and 6 more"]),
        (edit_json("config.json", tie_word_embeddings=False), ["lm_head.weight"]),
        (edit_json("tokenizer.json", pre_tokenizer=OTHER_SPLIT), ["[aeiou]+", "llama-bpe", "qwen2"]),
        (edit_json("tokenizer.json", pre_tokenizer=None), ["nothing", "llama-bpe"]),
        (edit_json("tokenizer.json", normalizer={"type": "Lowercase"}), ["Lowercase"]),
        (edit_json("tokenizer.json", model={"type": "Unigram", "vocab": []}), ["'Unigram'", "only BPE"]),
        (edit_json("tokenizer_config.json", eos_token="<none>"), ["<none>", "never stops"]),
        (edit_json("tokenizer_config.json", bos_token="<|eot_id|>"), ["<|begin_of_text|>", "bos_token"]),
        (cut("tokenizer.json"), ["tokenizer.json", "cannot be read"]),
        (edit_weights(lambda weights: weights.pop(f"{Q_PROJ}.weight")), [f"{Q_PROJ}.weight"]),
        (
            edit_weights(lambda weights: weights.update({"extra.weight": weights["model.norm.weight"]})),
            ["extra.weight"],
        ),
        (
            edit_weights(lambda weights: weights.update({f"{Q_PROJ}.scales": weights["model.norm.weight"]})),
            [f"{Q_PROJ}.scales", "full-precision base"],
        ),
        (edit_weights(pack), ["up_proj", "U32", "full-precision base"]),
        (put(f"{Q_PROJ}.weight", float("nan")), [f"{Q_PROJ}.weight", "NaN"]),
        (put("model.norm.weight", float("inf")), ["model.norm.weight", "infinity"]),
        (put("model.embed_tokens.weight", 1e6), ["model.embed_tokens.weight", "65504"]),
        (shard_and_lose, ["model-00002-of-00002.safetensors", "not there"]),
        (cut("model.safetensors"), ["model.safetensors", "cut short"]),
        (lambda folder: (folder / "model.safetensors").unlink(), ["neither model.safetensors"]),
    ],
)
def test_a_model_that_cannot_be_written_is_refused_by_name(
    harm: Callable[[Path], None], words: list[str], folder: Path, tmp_path: Path
) -> None:
    broken, out = tmp_path / "fused", tmp_path / "out" / "model.gguf"
    shutil.copytree(folder, broken)
    harm(broken)
    with pytest.raises(ExportError) as refusal:
        convert(broken, out, None, silent)
    assert [word for word in words if word not in str(refusal.value)] == []
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_a_disk_too_small_is_found_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"1000000000\.0 GB needed for the BF16 file, .* make room"):
        gguf_quantize.require_space(tmp_path / "model.gguf", 10**18, "BF16")


def test_a_broken_model_card_does_not_stop_the_export(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "fused")
    (tmp_path / "fused" / "README.md").write_text("---\nbase_model: [\n---\n")
    convert(tmp_path / "fused", tmp_path / "model.gguf", None, silent)
    assert header.describe(tmp_path / "model.gguf")[0] == {"F16": 15, "F32": 5}
