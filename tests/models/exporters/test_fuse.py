"""Laws of fusing into a base unlike the plain one: quantized, in shards, of another layout; or without room."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.exporters.gguf_models import make_model, mlx_model, save, silent
from tests.models.exporters.test_gguf_adapter import LINEARS, OTHERS, make_adapter
from understudy.bases.hub import HubBase
from understudy.errors import AssetError
from understudy.exporters.gguf_convert import convert
from understudy.gguf import header
from understudy.trainers import fuse as fusing
from understudy.trainers import merge


def weights_of(folder: Path) -> dict[str, Any]:
    """Every tensor of a folder in float32, by name."""
    import mlx.core as mx

    held = {
        name: value for file in sorted(folder.glob("model*.safetensors")) for name, value in mx.load(str(file)).items()
    }
    return {name: np.array(value.astype(mx.float32)) for name, value in held.items()}


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two sets of the same tensors."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def quantized(folder: Path, out: Path, shards: int) -> Path:
    """The model of `folder` as mlx-lm quantizes it to 8 bits, in several files."""
    import mlx.core as mx
    from mlx_lm import convert as quantize

    quantize(str(folder), str(out), quantize=True, q_bits=8, q_group_size=32)
    held = dict(mx.load(str(out / "model.safetensors")))
    mx.eval(*held.values())
    (out / "model.safetensors").unlink()
    save(out, held, shards)
    return out


def test_a_base_whose_weights_mlx_parts_is_fused_under_the_names_of_its_files(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "granitemoehybrid", shards=2)
    whole = make_model(tmp_path / "whole", "granitemoehybrid")
    made = make_adapter(tmp_path / "adapter", whole, LINEARS["granitemoehybrid"])
    (tmp_path / "out").mkdir()
    card = fusing.fuse(base, made, tmp_path / "out", silent)
    assert [file.name for file in merge.shards(tmp_path / "out")] == [file.name for file in merge.shards(base)]
    assert furthest(weights_of(tmp_path / "out"), weights_of(made / "fused")) < 1e-5
    gate, q_and_k, down = 2 * 512 * 256, 2 * (256 + 128) * 256, 2 * 256 * 512
    assert card.changed_share == pytest.approx((gate + q_and_k + down) / card.parameters, rel=1e-3)


def test_a_granite_that_mlx_saved_is_the_same_file(tmp_path: Path) -> None:
    import mlx.core as mx

    folder = make_model(tmp_path / "files", "granitemoehybrid")
    convert(folder, tmp_path / "files.gguf", "same", silent)
    saved = shutil.copytree(folder, tmp_path / "saved")
    model = mlx_model(json.loads((folder / "config.json").read_text()))
    save(saved, dict(model.sanitize(dict(mx.load(str(folder / "model.safetensors"))))))
    convert(saved, tmp_path / "saved.gguf", "same", silent)
    kinds = [
        sorted((t.name, t.type, t.values) for t in header.tensors(tmp_path / f"{name}.gguf"))
        for name in ("files", "saved")
    ]
    assert kinds[0] == kinds[1]


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    """The tied llama, quantized and in three files."""
    return quantized(folder, tmp_path / "packed", 3)


def test_a_quantized_base_in_several_files_is_fused_file_by_file(folder: Path, packed: Path, tmp_path: Path) -> None:
    made = make_adapter(tmp_path / "adapter", folder, OTHERS)
    (tmp_path / "out").mkdir()
    card = fusing.fuse(packed, made, tmp_path / "out", silent)
    assert card.dequantized and len(merge.shards(tmp_path / "out")) == 3
    assert furthest(weights_of(tmp_path / "out"), weights_of(made / "fused")) < 0.01
    index = json.loads((tmp_path / "out" / merge.INDEX).read_text())["weight_map"]
    assert index.keys() == weights_of(tmp_path / "out").keys()
    convert(tmp_path / "out", tmp_path / "model.gguf", None, silent)
    assert header.describe(tmp_path / "model.gguf")[0] == {"F16": 15, "F32": 5}


def prepared(source: Path, out: Path) -> Path:
    """What the hub base makes of a folder, with its card."""
    out.mkdir(parents=True)
    card = HubBase(HubBase.Options(repository=str(source), allow_untested=True)).prepare([], out, 1, silent)
    (out / "card.json").write_text(card.model_dump_json())
    return out


@pytest.mark.parametrize("front", ["base_model: {original}", "base_model:\n- {original}\ntags: [mlx]"])
def test_a_quantized_base_whose_original_is_here_is_fused_into_that(
    front: str, folder: Path, packed: Path, tmp_path: Path
) -> None:
    (packed / "README.md").write_text(f"---\n{front.format(original=folder)}\n---\n# A model\n")
    template = (packed / "chat_template.jinja").read_text() + "{# as trained #}"
    (packed / "chat_template.jinja").write_text(template)
    base = prepared(packed, tmp_path / "bases" / "packed")
    made = make_adapter(tmp_path / "adapter", folder, OTHERS)
    (tmp_path / "out").mkdir()
    card = fusing.fuse(base, made, tmp_path / "out", silent)
    assert not card.dequantized and not (tmp_path / "out" / "README.md").exists()
    assert furthest(weights_of(tmp_path / "out"), weights_of(made / "fused")) < 1e-5
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == template
    assert "quantization" not in (tmp_path / "out" / "config.json").read_text()


def test_an_original_from_the_hub_is_found_beside_the_base(folder: Path, packed: Path, tmp_path: Path) -> None:
    (packed / "README.md").write_text("---\nbase_model: owner/candles-1B\n---\n")
    base = prepared(packed, tmp_path / "bases" / "packed")
    assert json.loads((base / "card.json").read_text())["notes"]["original"] == "owner/candles-1B"
    assert fusing.original(base) == base
    beside = prepared(folder, tmp_path / "bases" / "whole")
    card = json.loads((beside / "card.json").read_text())
    (beside / "card.json").write_text(json.dumps(card | {"name": "owner/candles-1B"}))
    assert fusing.original(base) == beside


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json"])
def test_an_original_that_is_not_whole_is_not_used(lost: str, folder: Path, packed: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (packed / "README.md").write_text(f"---\nbase_model: {other}\n---\n")
    base = prepared(packed, tmp_path / "bases" / "packed")
    assert fusing.original(base) == other
    (other / lost).unlink()
    assert fusing.original(base) == base


@pytest.mark.parametrize(
    "card",
    [
        "",
        "no front matter",
        "---\n[\n---\n",
        "---\nbase_model: [a/b, c/d]\n---\n",
        "---\nbase_model: a/b\nbase_model_relation: finetune\n---\n",
        "---\nbase_model: no such place\n---\n",
        "---\nbase_model: 7\n---\n",
    ],
)
def test_a_card_that_names_no_one_original_names_none(card: str, packed: Path, tmp_path: Path) -> None:
    (packed / "README.md").write_text(card)
    base = prepared(packed, tmp_path / "bases" / "packed")
    assert "original" not in json.loads((base / "card.json").read_text())["notes"]


def test_only_plain_lora_is_fused(folder: Path, tmp_path: Path) -> None:
    made = make_adapter(tmp_path / "adapter", folder, OTHERS)
    settings = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(settings | {"fine_tune_type": "dora"}))
    (tmp_path / "out").mkdir()
    with pytest.raises(AssetError, match="fine_tune_type is 'dora', and only 'lora' can be merged"):
        fusing.fuse(folder, made, tmp_path / "out", silent)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_too_small_for_the_merged_model_is_found_before_writing(folder: Path, tmp_path: Path) -> None:
    big = shutil.copytree(folder, tmp_path / "big")
    made = make_adapter(tmp_path / "adapter", folder, OTHERS)
    with (big / "model-00009.safetensors").open("wb") as file:
        file.truncate(2 * shutil.disk_usage(tmp_path).free)  # a hole takes no room, and counts as what it says
    (tmp_path / "out").mkdir()
    with pytest.raises(AssetError, match=r"GB needed for the merged model, .* GB free; make room"):
        fusing.fuse(big, made, tmp_path / "out", silent)
    assert list((tmp_path / "out").iterdir()) == []
