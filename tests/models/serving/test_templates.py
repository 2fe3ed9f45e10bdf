"""Laws of the template round trip, on a tiny model whose files are really read by transformers and llama.cpp."""

import json
import re
import shutil
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.models.exporters.gguf_models import silent
from tests.models.serving.conftest import as_gguf
from understudy.errors import ExportError
from understudy.exporters.templates import (
    CONVERSATIONS,
    FAMILIES,
    family,
    marks_in,
    round_trip,
    set_defaults,
    with_defaults,
)
from understudy.records import TemplateCheck

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
)
IN_JINJA = {
    "chatml": CHATML,
    "qwen3-not-thinking": THINKS,
    "qwen2.5": "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. "
    "You are a helpful assistant.<|im_end|>\n{% endif %}" + CHATML,
    "gemma": "{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else 'user' }}\n{{ s if loop.first and s }}{{ m.content }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "phi4-mini": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
}


def check(fused: Path, gguf: Path) -> TemplateCheck:
    return round_trip(fused, gguf, silent)


def changed(fused: Path, tmp_path: Path, template: str) -> Path:
    """The model with another chat template."""
    folder = shutil.copytree(fused, tmp_path / "changed")
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_an_honest_export_differs_in_nothing_and_knows_its_family(fused: Path, gguf: Path) -> None:
    result = check(fused, gguf)
    assert result.differences == [] and result.family == "llama3"
    assert "<|eot_id|>" in result.stops


def test_a_file_with_another_template_is_told_by_its_first_token(fused: Path, gguf: Path, tmp_path: Path) -> None:
    result = check(changed(fused, tmp_path, CHATML), gguf)
    assert len(result.differences) == 2 * len(CONVERSATIONS)
    assert re.search(r"token 0 was '<.*' \(\d+\) in training and is '<\|begin_of_text\|>' \(0\)", result.differences[0])
    assert result.family is None


@pytest.mark.parametrize("name", IN_JINJA)
def test_a_family_is_known_by_what_it_writes(name: str) -> None:
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(IN_JINJA[name])
    for messages in CONVERSATIONS.values():
        text = template.render(messages=messages[:-1], add_generation_prompt=True, enable_thinking=False)
        assert family(name).render(messages[:-1]) == text


def test_thinking_is_off_in_a_default_export_only(fused: Path, tmp_path: Path) -> None:
    thinking = changed(fused, tmp_path, "{{ bos_token }}" + THINKS)
    bare = check(thinking, as_gguf(thinking, "bare"))
    assert bare.differences and all("(prompt)" in sentence for sentence in bare.differences)
    assert set_defaults(thinking) and not set_defaults(thinking)
    result = check(thinking, as_gguf(thinking, "defaults"))
    assert result.differences == [] and result.family == "qwen3-not-thinking"


def test_a_default_template_still_obeys_its_caller() -> None:
    template = with_defaults(THINKS)
    messages = CONVERSATIONS["one turn"][:-1]
    env = ImmutableSandboxedEnvironment()
    render = {t: env.from_string(t).render for t in (THINKS, template)}
    for options in ({"enable_thinking": True}, {"enable_thinking": False}):
        texts = [render[t](messages=messages, add_generation_prompt=True, **options) for t in render]
        assert texts[0] == texts[1]
    assert with_defaults(template) == template and with_defaults(CHATML) == CHATML


def test_a_template_in_the_tokenizer_file_is_default_there(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer_config.json"
    for template in (THINKS, [{"name": "default", "template": THINKS}]):
        file.write_text(json.dumps({"eos_token": "é", "chat_template": template}))
        assert set_defaults(tmp_path) and not set_defaults(tmp_path)
        assert json.loads(file.read_text())["eos_token"] == "é"


@pytest.mark.parametrize(
    ("answer", "marks"),
    [
        ("Wax **burns**.\n\n- a < b | c > d\n- the user: me", set()),
        ("<think>hm</think> Yes", {"<think>", "</think>"}),
        ("Yes.<|im_end|>\nuser\nAnd?", {"<|im_end|>", "user"}),
        ("Yes<end_of_turn> [/INST]", {"<end_of_turn>", "[/INST]"}),
    ],
)
def test_marks_of_a_template_in_an_answer_are_found(answer: str, marks: set[str]) -> None:
    assert marks_in(answer) == marks


def test_every_family_has_its_own_name_and_a_template_for_ollama() -> None:
    assert len({f.name for f in FAMILIES}) == len(FAMILIES) == len({f.ollama_template() for f in FAMILIES})
    for one in FAMILIES:
        assert one.ollama_template().count("{{ range") == 1 and '"""' not in one.ollama_template()
    with pytest.raises(ExportError, match="known: llama3,"):
        family("alpaca")


def test_a_start_token_that_training_had_not_rules_a_family_out(fused: Path, tmp_path: Path) -> None:
    chatml = changed(fused, tmp_path, CHATML)  # the vocabulary asks for a start token, which Ollama then writes
    result = check(chatml, as_gguf(chatml, "bare"))
    assert result.differences == [] and result.family is None


def test_a_file_without_a_template_is_refused(fused: Path, gguf: Path, tmp_path: Path) -> None:
    key = b"tokenizer.chat_template"
    (tmp_path / "none.gguf").write_bytes(gguf.read_bytes().replace(key, key[:-1] + b"x"))
    with pytest.raises(ExportError, match="it holds no chat template"):
        check(fused, tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}", r"leaves <think> open"),
        ("{% endfor %}", "{% endfor %}{% if not add_generation_prompt %}<|im_start|>user\n{% endif %}", "im_start"),
    ],
)
def test_a_template_that_leaves_marks_open_is_told_though_both_sides_agree(
    old: str, new: str, words: str, fused: Path, tmp_path: Path
) -> None:
    thinking = changed(fused, tmp_path, "{{ bos_token }}" + CHATML.replace(old, new))
    result = check(thinking, as_gguf(thinking, "bare"))
    assert len(result.differences) == len(CONVERSATIONS) and all(
        re.search(words, sentence) for sentence in result.differences
    )
