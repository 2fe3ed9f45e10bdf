"""Laws of mixtures of experts: what is adapted, and that what was learned is merged into the right expert."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from tests.models.exporters.gguf_models import mlx_model
from understudy.errors import ConfigError
from understudy.trainers import merge, mlx_shape
from understudy.trainers.lora_job import LoraOptions

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "max_position_embeddings": 64, "tie_word_embeddings": True, "num_experts_per_tok": 2, "num_local_experts": 3,
    "num_experts": 3, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
}  # fmt: skip
IN_THE_FILES = {"qwen3_moe": "mlp.experts.{n}.{part}", "mixtral": "block_sparse_moe.experts.{n}.{part}"}


def model_of(kind: str) -> Any:
    mx.random.seed(3)
    return mlx_model({"model_type": kind} | SIZES)


def options(**changes: Any) -> LoraOptions:
    return LoraOptions.model_validate({"rank": 2, "alpha": 4, "learning_rate": 1e-3} | changes)


@pytest.mark.parametrize("kind", IN_THE_FILES)
def test_attention_is_adapted_and_neither_router_nor_experts(kind: str) -> None:
    model = model_of(kind)
    mlx_shape.add_lora(model, options(), 0)
    config, weights = mlx_shape.effective(model)
    assert config["lora_parameters"]["keys"] == [f"self_attn.{part}_proj" for part in "koqv"]
    assert weights == 2 * 2 * ((16 + 16) + (16 + 8) + (16 + 8) + (16 + 16))


@pytest.mark.parametrize(
    ("kind", "experts"), [("qwen3_moe", "mlp.switch_mlp"), ("mixtral", "block_sparse_moe.switch_mlp")]
)
def test_what_an_expert_learned_is_merged_into_its_own_weights(kind: str, experts: str, tmp_path: Path) -> None:
    model = model_of(kind)
    before = {name: mx.array(value) for name, value in tree_flatten(model.parameters())}
    parts = [f"{experts}.{part}" for part in ("gate_proj", "down_proj", "up_proj")]
    mlx_shape.add_lora(model, options(target_modules=parts), 0)
    config, weights = mlx_shape.effective(model)
    assert weights == 2 * 3 * 2 * 3 * (16 + 24)
    learned = {name: mx.random.normal(value.shape) for name, value in tree_flatten(model.trainable_parameters())}
    (tmp_path / "base").mkdir()
    (tmp_path / "out").mkdir()
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), learned)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(tmp_path / "base/model.safetensors"), numbered(before, kind), metadata={"format": "pt"})
    gains = merge.renamed(tmp_path / "base", merge.deltas(tmp_path))
    assert merge.missing(tmp_path / "base", gains) == []
    merge.merge(tmp_path / "base", gains, tmp_path / "out", lambda done, total, note="": None)
    merged = model_of(kind)
    merged.load_weights(list(merged.sanitize(mx.load(str(tmp_path / "out/model.safetensors"))).items()))
    model.load_weights(list(learned.items()), strict=False)
    ids = mx.array([[5, 7, 11, 13]])
    assert mx.abs(model(ids) - model_of(kind)(ids)).max() > 0.1
    assert mx.allclose(model(ids), merged(ids), atol=1e-4)


def numbered(weights: dict[str, mx.array], kind: str) -> dict[str, mx.array]:
    """Each expert by itself, as the files of the family have them."""
    result = {}
    for name, value in weights.items():
        if "switch_mlp" not in name:
            result[name] = value
            continue
        layer, part = name.split(".switch_mlp.")[0].rpartition(".")[0], name.split(".")[-2]
        part = merge.EXPERT_NAMES[part] if kind == "mixtral" else part
        for number in range(len(value)):
            own = IN_THE_FILES[kind].format(n=number, part=part)
            result[f"{layer}.{own}.weight"] = mx.contiguous(value[number])
    return result


def test_experts_that_the_files_keep_in_one_piece_are_refused_before_training() -> None:
    sizes = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8, "num_experts_per_tok": 2}
    model = mlx_model({"model_type": "gpt_oss"} | SIZES | sizes)
    with pytest.raises(ConfigError, match=r"mlp\.experts\.gate_proj are experts that cannot be merged"):
        mlx_shape.add_lora(model, options(target_modules=["mlp.experts.gate_proj"]), 0)


def test_the_text_part_of_a_larger_model_is_found_under_its_own_name(tmp_path: Path) -> None:
    ending, absent = "layers.0.self_attn.q_proj.weight", "layers.9.self_attn.q_proj.weight"
    text, sight = f"model.language_model.{ending}", f"model.vision_tower.{ending}"
    mx.save_safetensors(str(tmp_path / "model.safetensors"), {text: mx.zeros((4, 4)), sight: mx.zeros((4, 4))})
    gain = merge.Delta(mx.zeros((4, 1)), mx.zeros((1, 4)), 1.0)  # type: ignore[arg-type]
    assert list(merge.renamed(tmp_path, {f"language_model.model.{ending}": gain})) == [text]
    assert list(merge.renamed(tmp_path, {absent: gain})) == [absent]
