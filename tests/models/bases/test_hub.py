"""Laws of a base that comes from a folder or a hub. The hub itself is never called."""

import json
from pathlib import Path

import pytest

from understudy.bases.hub import HubBase
from understudy.errors import ConfigError
from understudy.records import BaseCard


def base(repository: str | Path) -> HubBase:
    return HubBase(HubBase.Options(repository=str(repository)))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def prepare(repository: str | Path, out: Path) -> BaseCard:
    out.mkdir()
    return base(repository).prepare([], out, 1, lambda done, total, note="": None)


def test_a_folder_is_taken_over_whole(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    folder, base = tiny_base
    card = prepare(folder, tmp_path / "out")
    assert (card.name, card.parameters, card.architecture) == (folder.name, base.parameters, "llama")
    assert contents(tmp_path / "out") == contents(folder)


def test_editing_the_copy_leaves_the_original(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    folder, _ = tiny_base
    prepare(folder, tmp_path / "out")
    before = (folder / "config.json").read_bytes()
    (tmp_path / "out" / "config.json").write_text("{}")
    assert (folder / "config.json").read_bytes() == before


def test_packed_weights_count_as_what_they_stand_for(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    from mlx_lm import convert

    folder, base = tiny_base
    convert(str(folder), str(tmp_path / "packed"), quantize=True, q_bits=4, q_group_size=32)
    card = prepare(tmp_path / "packed", tmp_path / "out")
    assert card.quantized and card.parameters == base.parameters


@pytest.mark.parametrize("repository", ["no model", "a/b/c", "./no-such-folder", "gpt2", "owner/"])
def test_what_cannot_be_a_model_is_refused_before_any_download(repository: str) -> None:
    assert len(base(repository).problems()) == 1


def test_a_plausible_repository_is_no_problem() -> None:
    assert base("mlx-community/Llama-3.2-3B-Instruct-4bit").problems() == []


@pytest.mark.parametrize(
    "lost, word",
    [
        ("config.json", "config.json"),
        ("model.safetensors", "safetensors"),
        ("tokenizer.json", "tokenizer.json"),
        ("chat_template.jinja", "chat template"),
    ],
)
def test_each_missing_file_is_named(tiny_base: tuple[Path, BaseCard], tmp_path: Path, lost: str, word: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in tiny_base[0].iterdir():
        if file.name != lost:
            (source / file.name).write_bytes(file.read_bytes())
    assert any(word in problem for problem in base(source).problems())
    with pytest.raises(ConfigError, match=word):
        prepare(source, tmp_path / "out")


def test_a_chat_template_inside_the_tokenizer_config_counts(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    prepare(tiny_base[0], tmp_path / "old")
    template = tmp_path / "old" / "chat_template.jinja"
    config = tmp_path / "old" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": template.read_text()}))
    template.unlink()
    assert base(tmp_path / "old").problems() == []


def copied(folder: Path, out: Path) -> Path:
    """The model again, to be changed."""
    out.mkdir(parents=True)
    for file in folder.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


def test_a_template_beside_the_tokenizer_counts(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    source = copied(tiny_base[0], tmp_path / "source")
    template = (source / "chat_template.jinja").read_text()
    (source / "chat_template.jinja").unlink()
    (source / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    prepare(source, tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == template


def test_a_shard_that_is_missing_is_named(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    source = copied(tiny_base[0], tmp_path / "source")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    [problem] = base(source).problems()
    assert "lacks model-00002-of-00002.safetensors" in problem and "copy" in problem


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq"])
def test_weights_that_mlx_does_not_tune_are_refused(
    method: str, tiny_base: tuple[Path, BaseCard], tmp_path: Path
) -> None:
    source = copied(tiny_base[0], tmp_path / "source")
    config = json.loads((source / "config.json").read_text()) | {"quantization_config": {"quant_method": method}}
    (source / "config.json").write_text(json.dumps(config))
    [problem] = base(source).problems()
    assert "MLX does not tune" in problem


def test_the_newest_version_in_the_hubs_own_cache_is_taken(tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    version = copied(tiny_base[0], tmp_path / "models--owner--tiny" / "snapshots" / "0123")
    assert base(tmp_path / "models--owner--tiny").folder() == version


def test_a_class_that_splits_unlike_the_file_is_replaced_and_noted(
    tiny_base: tuple[Path, BaseCard], tmp_path: Path
) -> None:
    source = copied(tiny_base[0], tmp_path / "source")
    config = json.loads((source / "tokenizer_config.json").read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    card = prepare(source, tmp_path / "out")
    assert "Qwen2Tokenizer" in str(card.notes["tokenizer"])
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["tokenizer_class"] != "Qwen2Tokenizer"
    assert json.loads((source / "tokenizer_config.json").read_text()) == config
