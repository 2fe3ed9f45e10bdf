"""Laws of the list of bases."""

import json
import re
from pathlib import Path

import pytest

from understudy.bases.hub import HubBase
from understudy.bases.known import KNOWN, KnownBase, config_problem, known, problem
from understudy.memory import model_of

BILLIONS = {"1B": 1.24, "3B": 3.2, "0.6B": 0.6, "1.7B": 1.72, "4B": 4.02, "8B": 8.19, "1b": 1.0, "micro": 3.4}


@pytest.mark.parametrize("base", KNOWN, ids=lambda base: base.name)
def test_sizes_add_up_to_the_size_in_the_name(base: KnownBase) -> None:
    size = next(billions for part, billions in BILLIONS.items() if part in base.name.split("-"))
    assert model_of(base.config).parameters / 1e9 == pytest.approx(size, rel=0.05)


@pytest.mark.parametrize("base", KNOWN, ids=lambda base: base.name)
def test_a_base_is_known_from_its_maker_and_from_converters(base: KnownBase) -> None:
    for repository in (base.repository, f"mlx-community/{base.name}-4bit", f"mlx-community/{base.name}-MLX-bf16"):
        assert known(repository) is base, repository
    assert known(f"stranger/{base.name}") is None and known(f"unsloth/{base.name}-GGUF") is None


def test_untested_bases_need_the_word() -> None:
    assert "allow_untested" in str(problem("owner/model", False)) and problem("owner/model", True) is None


@pytest.mark.parametrize(
    "name",
    [
        "mlx-community/Llama-3.2-1B-Instruct-mxfp4",
        "mlx-community/gemma-3-1b-it-qat-8bit",
        "mlx-community/Qwen3-8B-4bit-DWQ-1013",
        "https://huggingface.co/ibm-granite/granite-4.0-micro/tree/main",
        "hf.co/Qwen/Qwen3-1.7B",
    ],
)
def test_a_known_base_is_known_by_all_its_names(name: str) -> None:
    assert HubBase(HubBase.Options(repository=name)).problems() == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bartowski/Llama-3.2-3B-Instruct-GGUF", "holds GGUF files; .* or take meta-llama/Llama-3.2-3B-Instruct"),
        ("llama3.2:1b", "write ollama:llama3.2:1b"),
        ("unsloth/Qwen3-8B-bnb-4bit", "bitsandbytes, .* or take Qwen/Qwen3-8B"),
        ("someone/unheard-of-bnb-8bit", "take the repository it was made of"),
    ],
)
def test_a_name_of_another_form_is_answered_with_what_to_take(name: str, words: str) -> None:
    [problem] = HubBase(HubBase.Options(repository=name)).problems()
    assert re.search(words, problem)


@pytest.mark.parametrize("name", ["Qwen/Qwen3.5-4B", "mlx-community/Qwen3.6-27B-4bit", "Qwen/Qwen3-Next-80B-A3B"])
def test_what_cannot_be_trained_is_refused_even_with_the_word(name: str) -> None:
    assert "linear attention" in str(problem(name, True))


def test_a_base_that_always_thinks_is_refused() -> None:
    assert "reasons before" in str(problem("Qwen/Qwen3-4B-Thinking-2507", False))


def test_a_folder_is_judged_by_its_config() -> None:
    assert config_problem("x", {"model_type": "llama"}, False) is None
    assert "linear attention" in str(config_problem("x", {"text_config": {"model_type": "qwen3_5_text"}}, True))
    assert "Mamba" in str(config_problem("x", {"model_type": "granitemoehybrid", "layer_types": ["mamba"]}, False))
    assert "tested list" in str(config_problem("x", {"model_type": "gpt2"}, False))


def test_a_folder_of_another_architecture_needs_the_word(tiny_base: tuple[Path, object], tmp_path: Path) -> None:
    for file in tiny_base[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "gpt2"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    options = {"repository": str(tmp_path)}
    assert "tested list" in HubBase(HubBase.Options(**options)).problems()[0]
    assert HubBase(HubBase.Options(**options, allow_untested=True)).problems() == []
