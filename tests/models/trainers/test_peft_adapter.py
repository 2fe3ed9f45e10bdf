"""Laws of an adapter's two forms: there and back it is the same bytes, or it is refused in a sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.errors import AssetError
from understudy.trainers import tensor_files
from understudy.trainers.peft_adapter import CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS, from_peft, to_peft
from understudy.trainers.tensor_files import Tensor, plain

MODULES = ("self_attn.q_proj", "mlp.down_proj")
DICE = np.random.default_rng(1)


def peft_folder(folder: Path, ranks: dict[str, int] | None = None, dtype: str = "F32", **config: Any) -> Path:
    """An adapter on two layers of two blocks as PEFT's save_pretrained writes it."""
    tensors: dict[str, Tensor] = {}
    for block in range(2):
        for module in MODULES:
            rank = (ranks or {}).get(module, 4)
            for half, shape in (("A", (rank, 8)), ("B", (6, rank))):
                values = DICE.normal(size=shape).astype(np.float32)
                stored = (
                    plain(values) if dtype == "F32" else Tensor("BF16", (values.view(np.uint32) >> 16).astype("u2"))
                )
                tensors[f"base_model.model.model.layers.{block}.{module}.lora_{half}.weight"] = stored
    folder.mkdir()
    tensor_files.write(folder / PEFT_WEIGHTS, tensors, {"format": "pt"})
    known = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "bias": "none"}
    (folder / CONFIG).write_text(json.dumps(known | config))
    return folder


WAYS: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"dtype": "BF16"},
    {"ranks": {"mlp.down_proj": 2}, "rank_pattern": {"down_proj": 2}, "alpha_pattern": {"down_proj": 4}},
    {"ranks": {"mlp.down_proj": 2}, "rank_pattern": {"down_proj": 2}},
    {"alpha_pattern": {"down_proj": 32}},
]


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_from_peft_and_back_the_bytes_and_the_settings_are_the_same(how: dict[str, Any], tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "peft", **how)
    from_peft(folder, tmp_path / "mlx")
    to_peft(tmp_path / "mlx", tmp_path / "again")
    assert (tmp_path / "again" / PEFT_WEIGHTS).read_bytes() == (folder / PEFT_WEIGHTS).read_bytes()
    assert json.loads((tmp_path / "again" / CONFIG).read_text()) == json.loads((folder / CONFIG).read_text())


@pytest.mark.parametrize("how", WAYS[:1] + WAYS[3:], ids=str)
def test_the_gain_of_every_layer_is_what_peft_would_add(how: dict[str, Any], tmp_path: Path) -> None:
    from understudy.trainers import merge

    folder = peft_folder(tmp_path / "peft", **how)
    from_peft(folder, tmp_path / "mlx")
    stored = {name: tensor.values for name, tensor in tensor_files.read(folder / PEFT_WEIGHTS).items()}
    for name, gain in merge.deltas(tmp_path / "mlx").items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        a, b, down = stored[f"{stem}.lora_A.weight"], stored[f"{stem}.lora_B.weight"], "down_proj" in name
        alpha = how.get("alpha_pattern", {}).get("down_proj", 8) if down else 8
        assert np.allclose(gain.matrix(), alpha / len(a) * (b @ a), atol=1e-5)


def test_from_mlx_and_back_the_bytes_and_the_settings_are_the_same(tuned: Any, tmp_path: Path) -> None:
    to_peft(tuned.out, tmp_path / "peft", "a base")
    from_peft(tmp_path / "peft", tmp_path / "mlx")
    ours, theirs = (tensor_files.read(folder / MLX_WEIGHTS) for folder in (tuned.out, tmp_path / "mlx"))
    assert list(ours) == list(theirs)
    assert all(
        a.dtype == b.dtype and a.values.tobytes() == b.values.tobytes() for a, b in zip(ours.values(), theirs.values())
    )
    assert json.loads((tuned.out / CONFIG).read_text()) == json.loads((tmp_path / "mlx" / CONFIG).read_text())


def test_every_run_leaves_the_adapter_as_peft_reads_it(tuned: Any) -> None:
    names = set(tensor_files.read(tuned.out / "peft" / PEFT_WEIGHTS))
    assert len(names) == 2 * 2 * 7 and all(name.startswith("base_model.model.model.layers.") for name in names)
    config = json.loads((tuned.out / "peft" / CONFIG).read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 12)


def test_peft_computes_what_mlx_computes(tuned: Any) -> None:
    torch = pytest.importorskip("torch", reason="the extra torch is not installed: make torch")
    peft = pytest.importorskip("peft", reason="the extra torch is not installed: make torch")
    import mlx.core as mx
    from mlx_lm import load
    from transformers import AutoModelForCausalLM

    tokens = [[0, 9, 40, 70, 100, 41]]
    plain_model = AutoModelForCausalLM.from_pretrained(tuned.base, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(plain_model, tuned.out / "peft").eval()
    with torch.no_grad():
        theirs = model(torch.tensor(tokens)).logits.numpy()
    loaded, _ = load(str(tuned.base), adapter_path=str(tuned.out))
    loaded.set_dtype(mx.float32)
    assert np.abs(np.array(loaded(mx.array(tokens))) - theirs).max() < 1e-4


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"peft_type": "IA3"}, "peft_type is 'IA3', and only 'LORA' can be merged"),
    ({"use_dora": True}, "use_dora is True: the merge"),
    ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
    ({"bias": "all"}, "bias is 'all'"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    ({"r": 8}, "has rank 4 in the weights and 8"),
    ({"alpha_pattern": {"down_proj": 24}}, "3 times the scale of most layers.*same alpha / rank"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=lambda x: str(x)[:40])
def test_what_mlx_cannot_say_is_refused_in_a_sentence(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=message):
        from_peft(peft_folder(tmp_path / "peft", **config), tmp_path / "mlx")


def test_weights_that_are_no_lora_or_may_run_a_program_are_refused(tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "peft")
    stored = tensor_files.read(folder / PEFT_WEIGHTS)
    tensor_files.write(
        folder / PEFT_WEIGHTS, stored | {"base_model.model.lm_head.weight": plain(np.ones(3, np.float32))}
    )
    with pytest.raises(AssetError, match="lm_head.weight is no weight of plain LoRA"):
        from_peft(folder, tmp_path / "mlx")
    (folder / PEFT_WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(AssetError, match="may run any program when it is read; save it as safetensors"):
        from_peft(folder, tmp_path / "mlx")


def test_an_mlx_adapter_of_another_kind_is_refused(tuned: Any, tmp_path: Path) -> None:
    shutil.copytree(tuned.out, tmp_path / "dora")
    config = json.loads((tuned.out / CONFIG).read_text()) | {"fine_tune_type": "dora"}
    (tmp_path / "dora" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(AssetError, match="fine_tune_type is 'dora', and only plain LoRA"):
        to_peft(tmp_path / "dora", tmp_path / "peft")
