"""Laws of the base that is made on the spot."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from understudy.bases import byte_bpe
from understudy.bases.scratch import ScratchBase
from understudy.errors import DatasetError
from understudy.records import BaseCard

TEXTS = ["It isn't so: 12345 °C, **bold**\n\n- a list\t\n", "  two spaces\r\n\r\n\r\nÜnïcödé 你好 🙂 «q»", "a\n\n\nb  "]


def test_the_same_talks_and_seed_give_the_same_bytes(
    tiny_base: tuple[Path, BaseCard], make_base: Callable[[Path], BaseCard], tmp_path: Path
) -> None:
    folder, _ = tiny_base
    make_base(tmp_path / "again")
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_folder_loads_and_the_card_tells_the_truth(tiny_base: tuple[Path, BaseCard]) -> None:
    from mlx.utils import tree_flatten
    from mlx_lm import load

    folder, card = tiny_base
    model, tokenizer = load(str(folder))
    assert card.parameters == sum(weight.size for _, weight in tree_flatten(model.parameters()))
    assert card.architecture == json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    assert card.notes["steps"] == 3 and card.notes["last_loss"] < card.notes["first_loss"]
    assert tokenizer.eos_token_ids == {tokenizer.convert_tokens_to_ids(m) for m in ("<|eot_id|>", "<|end_of_text|>")}
    assert not list(folder.glob("*.log"))


def test_every_text_comes_back_from_its_tokens(tiny_base: tuple[Path, BaseCard], talks: list[str]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base[0])
    for text in TEXTS + talks:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.decode(tokenizer.encode("x")) == "<|begin_of_text|>x"


def test_a_chat_starts_once_and_the_prompt_is_its_beginning(tiny_base: tuple[Path, BaseCard]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base[0])
    chat = [{"role": "user", "content": " Why? "}, {"role": "assistant", "content": "**So.**"}]
    whole = tokenizer.apply_chat_template(chat, tokenize=False)
    prompt = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert whole == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n**So.**<|eot_id|>"
    )
    assert whole.startswith(prompt) and prompt.endswith("<|end_header_id|>\n\n")


def test_markdown_is_one_token_though_no_talk_holds_it(talks: list[str]) -> None:
    tokenizer = byte_bpe.learn(talks * 20, 400)
    assert {" **", "**"} <= {tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size())}


def test_default_shapes_let_every_quantization_in() -> None:
    options = ScratchBase.Options()
    assert options.hidden % 256 == 0 and options.intermediate % 256 == 0


def test_no_talk_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="none with text"):
        ScratchBase(ScratchBase.Options()).prepare(["", " \n"], tmp_path, 1, lambda done, total, note="": None)


@pytest.mark.parametrize("wrong", [{"hidden": 250}, {"kv_heads": 3}, {"vocabulary": 100}, {"passage_tokens": 2048}])
def test_shapes_that_do_not_fit_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ScratchBase.Options(**wrong)
