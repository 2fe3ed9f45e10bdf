"""Laws of the adapter file: run with the base, it is the fused model; an adapter of another base is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.exporters.gguf_models import NASTY, make_model, save, silent
from understudy.errors import ExportError
from understudy.exporters.gguf_convert import adapter, convert

LINEARS = {
    "phi3": ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj"],
    "granitemoehybrid": ["self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.down_proj"],
}
OTHERS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"]
RANK, SCALE = 4, 2.5


def matrix(folder: Path, name: str) -> tuple[str, Any]:
    """A weight of the folder, by the name mlx has for it: where it lies, and which of its rows."""
    if "granitemoehybrid" in (folder / "config.json").read_text() and ".mlp." in name:
        if name.endswith("down_proj.weight"):
            return name.replace("mlp.down_proj", "shared_mlp.output_linear"), slice(None)
        return name.replace("mlp.gate_proj", "shared_mlp.input_linear"), slice(512)
    return name, slice(None)


def make_adapter(folder: Path, base: Path, linears: list[str]) -> Path:
    """Fill `folder` with an adapter as mlx-lm writes it, and `folder`/fused with base and adapter merged."""
    import mlx.core as mx

    folder.mkdir()
    weights, gains = dict(mx.load(str(base / "model.safetensors"))), {}
    for layer in range(2):
        for linear in linears:
            stem = f"model.layers.{layer}.{linear}"
            name, rows = matrix(base, f"{stem}.weight")
            outputs, inputs = weights[name][rows].shape
            a, b = mx.random.normal((inputs, RANK)) * 0.1, mx.random.normal((RANK, outputs)) * 0.1
            gains |= {f"{stem}.lora_a": a, f"{stem}.lora_b": b}
            weights[name][rows] = weights[name][rows] + SCALE * (b.T @ a.T)
    mx.save_safetensors(str(folder / "adapters.safetensors"), gains)
    settings = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": {"rank": RANK, "scale": SCALE}}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "fused").mkdir()
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            (folder / "fused" / file.name).write_bytes(file.read_bytes())
    save(folder / "fused", weights)
    return folder


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text", "phi3", "granitemoehybrid"])
def test_base_and_adapter_are_the_fused_model(kind: str, tmp_path: Path, load: Callable[..., Any]) -> None:
    base = make_model(tmp_path / "base", kind)
    made = make_adapter(tmp_path / "adapter", base, LINEARS.get(kind, OTHERS))
    convert(base, tmp_path / "base.gguf", None, silent)
    convert(made / "fused", tmp_path / "fused.gguf", None, silent)
    adapter(base, made, tmp_path / "lora.gguf")
    plain = load(tmp_path / "base.gguf", logits_all=True)
    both = load(tmp_path / "base.gguf", logits_all=True, lora_path=str(tmp_path / "lora.gguf"))
    fused = load(tmp_path / "fused.gguf", logits_all=True)
    ids = fused.tokenize(NASTY[0].encode(), add_bos=True)
    for model in (plain, both, fused):
        model.eval(ids)
    scores = [np.array(model.scores[: len(ids)]) for model in (plain, both, fused)]
    assert np.abs(scores[1] - scores[2]).max() < 0.03
    assert np.abs(scores[0] - scores[2]).max() > 1


def edit(**changes: Any) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return harm


def put(name: str, value: float) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        import mlx.core as mx

        weights = dict(mx.load(str(folder / "adapters.safetensors")))
        mx.eval(*weights.values())
        weights[name] = mx.full(weights[name].shape if name in weights else (4,), value)
        mx.save_safetensors(str(folder / "adapters.safetensors"), weights)

    return harm


Q_PROJ = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (edit(fine_tune_type="dora"), ["'dora'", "fused model's file"]),
        (edit(lora_parameters={}), ["adapter_config.json", "scale"]),
        (put(f"{Q_PROJ}.lora_a", float("nan")), [Q_PROJ, "NaN"]),
        (put(f"{Q_PROJ}.m", 1.0), [Q_PROJ, "plain LoRA"]),
        (put("model.layers.9.mlp.up_proj.lora_a", 1.0), ["model.layers.9.mlp.up_proj"]),
        (lambda folder: (folder / "adapters.safetensors").write_bytes(b"short"), ["adapters.safetensors"]),
    ],
)
def test_an_adapter_that_cannot_be_written_is_refused_by_name(
    harm: Callable[[Path], None], words: list[str], folder: Path, tmp_path: Path
) -> None:
    made = make_adapter(tmp_path / "adapter", folder, OTHERS)
    harm(made)
    with pytest.raises(ExportError) as refusal:
        adapter(folder, made, tmp_path / "lora.gguf")
    assert [word for word in words if word not in str(refusal.value)] == []
    assert not (tmp_path / "lora.gguf").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intermediate_size": 768}, ["mlp.down_proj is 256 x 512", "the base's 256 x 768"]),
        ({"num_hidden_layers": 1}, ["model.layers.1", "another base"]),
        ({"kind": "phi3"}, ["k_proj", "another base"]),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    changes: dict[str, Any], words: list[str], folder: Path, tmp_path: Path
) -> None:
    made = make_adapter(tmp_path / "adapter", folder, OTHERS)
    other = make_model(tmp_path / "other", **changes)
    with pytest.raises(ExportError) as refusal:
        adapter(other, made, tmp_path / "lora.gguf")
    assert [word for word in words if word not in str(refusal.value)] == []
