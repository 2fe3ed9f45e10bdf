"""Laws of merging without mlx."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from understudy.errors import AssetError
from understudy.trainers import merge


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def a_base(folder: Path, dtype: mx.Dtype) -> dict[str, mx.array]:
    """Two shards, one of which holds nothing that is adapted."""
    folder.mkdir()
    mx.random.seed(1)
    weights = {"q.weight": mx.random.normal((6, 4)).astype(dtype), "norm.weight": mx.random.normal((4,)).astype(dtype)}
    mx.save_safetensors(str(folder / "model-00001.safetensors"), weights, metadata={"format": "pt"})
    mx.save_safetensors(str(folder / "model-00002.safetensors"), {"k.weight": mx.ones((3, 3)).astype(dtype)})
    return weights


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_the_gain_is_added_in_float32_and_rounded_once(tmp_path: Path, dtype: mx.Dtype) -> None:
    weights = a_base(tmp_path / "base", dtype)
    dice = np.random.default_rng(2)
    gain = merge.Delta(dice.normal(size=(4, 2)).astype(np.float32), dice.normal(size=(2, 6)).astype(np.float32), 2.0)
    assert np.allclose(gain.matrix(), 2.0 * (gain.a @ gain.b).T)
    (tmp_path / "out").mkdir()
    changed, total = merge.merge(tmp_path / "base", {"q.weight": gain}, tmp_path / "out", silent)
    expected = (weights["q.weight"].astype(mx.float32) + mx.array(gain.matrix())).astype(dtype)
    merged = mx.load(str(tmp_path / "out" / "model-00001.safetensors"))
    assert mx.array_equal(merged["q.weight"], expected) and merged["q.weight"].dtype == dtype
    assert mx.array_equal(merged["norm.weight"], weights["norm.weight"])
    assert (changed, total) == (24, 37)


def test_what_no_adapter_touches_stays_the_same_bytes(tmp_path: Path) -> None:
    a_base(tmp_path / "base", mx.float32)
    (tmp_path / "out").mkdir()
    nothing = merge.Delta(np.ones((4, 2), np.float32), np.zeros((2, 6), np.float32), 2.0)
    changed, _ = merge.merge(tmp_path / "base", {"q.weight": nothing}, tmp_path / "out", silent)
    assert changed == 0
    for file in (tmp_path / "base").iterdir():
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes()


def test_a_weight_of_another_name_or_shape_is_missing(tmp_path: Path) -> None:
    a_base(tmp_path / "base", mx.float32)
    fits, wide = (merge.Delta(np.ones((n, 2), np.float32), np.ones((2, 6), np.float32), 1.0) for n in (4, 5))
    assert merge.missing(tmp_path / "base", {"q.weight": fits}) == []
    assert merge.missing(tmp_path / "base", {"q.weight": wide, "x.weight": fits}) == ["q.weight", "x.weight"]


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0")
    with pytest.raises(AssetError, match=r"model\.safetensors"):
        merge.tensors(tmp_path / "model.safetensors")


def test_a_shard_the_index_lists_and_nobody_has_is_named(tmp_path: Path) -> None:
    a_base(tmp_path / "base", mx.float32)
    (tmp_path / "base" / merge.INDEX).write_text('{"weight_map": {"x": "model-00003.safetensors"}}')
    with pytest.raises(AssetError, match=r"lists model-00003\.safetensors, which is not there"):
        merge.shards(tmp_path / "base")


def test_a_gain_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"lora_parameters": {"scale": 2.0}}')
    halves = {"q.lora_a": mx.full((4, 2), float("nan")), "q.lora_b": mx.zeros((2, 6))}
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), halves)
    with pytest.raises(AssetError, match="q holds NaN or infinity; training went wrong"):
        merge.deltas(tmp_path)
