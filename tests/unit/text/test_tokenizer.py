"""Laws of the tokenizer: its tokens are those of tokenizer.json, whatever class the folder names."""

import json
import logging
from pathlib import Path

import pytest

from tests.models.exporters.gguf_models import make_tokenizer
from understudy.gguf.tokenizer import BYTES, DIGITS, GPT_2, LLAMA_3
from understudy.text.tokenizer import FROM_FILE, PROBE, differs, load, mend

DIGITS_FIRST, LLAMA_SPLIT = (DIGITS, GPT_2), (LLAMA_3, BYTES)


def folder(place: Path, name: str, rules: tuple[str, ...], model_type: str = "llama") -> Path:
    """A folder whose tokenizer_config.json names the class `name`."""
    make_tokenizer(place, rules, whole_words=rules == LLAMA_SPLIT)
    config = place / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": name}))
    (place / "config.json").write_text(json.dumps({"model_type": model_type}))
    return place


WRONG = [
    ("GPT2Tokenizer", DIGITS_FIRST, "llama"),
    ("GPT2TokenizerFast", DIGITS_FIRST, "llama"),
    ("Qwen2Tokenizer", LLAMA_SPLIT, "qwen2"),
    ("Qwen2TokenizerFast", LLAMA_SPLIT, "llama"),
]


@pytest.mark.parametrize(("name", "rules", "kind"), WRONG)
def test_where_the_class_splits_otherwise_the_file_wins(
    name: str, rules: tuple[str, ...], kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    made, own = folder(tmp_path, name, rules, kind), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    by_class = AutoTokenizer.from_pretrained(made)
    assert differs(by_class, made)
    with caplog.at_level(logging.INFO, "understudy"):
        loaded = load(made)
    for text in PROBE:
        assert loaded.encode(text, add_special_tokens=False) == own.encode(text, add_special_tokens=False).ids
    assert (loaded.bos_token, loaded.eos_token) == (by_class.bos_token, by_class.eos_token)
    assert loaded.chat_template == by_class.chat_template
    assert f"the class {name} of tokenizer_config.json" in caplog.text


@pytest.mark.parametrize("rules", [DIGITS_FIRST, LLAMA_SPLIT])
def test_a_class_that_takes_the_file_as_it_is_is_left_alone(
    rules: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = folder(tmp_path, FROM_FILE, rules)
    with caplog.at_level(logging.INFO, "understudy"):
        assert differs(load(made), made) is None and mend(made) is None
    assert "tokenizer_config" not in caplog.text


def test_a_class_of_the_kind_of_model_loses_too(tmp_path: Path) -> None:
    made = folder(tmp_path, FROM_FILE, LLAMA_SPLIT, "qwen2")  # transformers takes Qwen2Tokenizer for it all the same
    assert differs(load(made), made) is None


def test_a_mended_folder_reads_the_same_for_everyone(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = folder(tmp_path, "GPT2Tokenizer", DIGITS_FIRST)
    before = json.loads((made / "tokenizer_config.json").read_text())
    assert "GPT2Tokenizer" in str(mend(made))
    assert differs(AutoTokenizer.from_pretrained(made), made) is None
    assert json.loads((made / "tokenizer_config.json").read_text()) == before | {"tokenizer_class": FROM_FILE}


def test_mlx_gets_the_tokens_of_the_file_and_all_end_tokens(tmp_path: Path) -> None:
    from mlx_lm.utils import load_tokenizer

    from understudy.text.tokenizer import for_mlx

    made = folder(tmp_path, "GPT2Tokenizer", DIGITS_FIRST)
    loaded = load_tokenizer(made, eos_token_ids=[0, 1])
    right = for_mlx(loaded, made)
    assert differs(loaded, made) is not None and differs(right, made) is None
    assert right.eos_token_ids == {0, 1}
