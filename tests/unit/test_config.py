"""Everything wrong with a preset is found at once and said with the way out."""

from pathlib import Path
from typing import Any

import pytest

from understudy import config, registry
from understudy.errors import ConfigError
from understudy.sections import ParityLimit, TuneSettings

DEMO = Path(__file__).resolve().parents[2] / "deployments/presets/tiny.yaml"

PRESET = """
name: x
source: {use: documents, path: .}
teacher: {use: extractive}
base: scratch
trainer: {use: mlx_lora}
"""


def problems(tmp_path: Path, text: str = PRESET, **changes: Any) -> list[str]:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        config.load(file, changes)
    return error.value.problems


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    assert problems(tmp_path, **{"evaluate.question": 3}) == [
        "unknown key 'evaluate.question'; did you mean 'questions'?"
    ]
    assert problems(tmp_path, **{"trainer.lerning_rate": 3}) == [
        "trainer.lerning_rate: unknown option; did you mean 'learning_rate'?"
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"trainer.accumulation": 2},
            "trainer.accumulation: unknown option; it is called gradient_accumulation_steps now",
        ),
        ({"trainer.scale": 2}, "trainer.scale: unknown option; it is called alpha (scale x rank) now"),
        ({"base.updates": 2}, "base.updates: unknown option; it is called steps now"),
        ({"tune.min_updates": 2}, "unknown key 'tune.min_updates'; it is called min_steps now"),
        ({"export.limits.q4.same_top": 1}, "unknown key 'export.limits.q4.same_top'; it is called top1_agreement now"),
    ],
)
def test_a_renamed_option_is_answered_with_its_new_name(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    assert problems(tmp_path, **changes) == [problem]


def test_every_renamed_option_has_the_new_name_somewhere() -> None:
    known = {*registry.resolve("trainer", "mlx_lora").Options.model_fields, *TuneSettings.model_fields}
    known |= {*registry.resolve("base", "scratch").Options.model_fields, *ParityLimit.model_fields}
    assert {name.split()[0] for name in registry.RENAMED.values()} <= known


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    messages = problems(
        tmp_path, name="Not A Name", seed=-1, **{"trainer.rank": 0, "teacher.use": "gtp", "split.test": 1.5}
    )
    text = "\n".join(messages)
    assert len(messages) == 5
    for part in ("name", "seed", "trainer.rank", "unknown teacher 'gtp'; choose from extractive", "split.test"):
        assert part in text


def test_a_value_out_of_range_is_shown(tmp_path: Path) -> None:
    assert "got 0" in problems(tmp_path, **{"trainer.rank": 0})[0]


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words", ""])
def test_a_file_that_is_no_preset_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    assert len(problems(tmp_path, text)) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml"):
        config.load(tmp_path / "nowhere.yaml")


def test_a_change_reaches_into_a_section_given_by_name(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PRESET)
    loaded = config.load(file, {"base.steps": 7, "export.types": ["Q8_0"]})
    assert loaded.base.options == {"steps": 7} and loaded.export.types == ["Q8_0"]
    assert config.load(file, {"base": "some/repo"}).base.options == {"repository": "some/repo"}


def test_a_prompt_is_a_text_or_the_file_that_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "answers.md"
    file.write_text("Answer {questions} like a baker.")
    for value in (str(file), "Answer {questions} like a baker."):
        loaded = config.load(DEMO, {"prompts.answers": value, "prompts.persona": "A baker."})
        assert loaded.teacher_prompts.own == {"answers": "Answer {questions} like a baker."}
    with pytest.raises(ConfigError, match="gone.md cannot be read"):
        config.load(DEMO, {"prompts.answers": str(tmp_path / "gone.md")})


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("scratch", "scratch"),
        ("x/model.GGUF", "gguf"),
        ("ollama:tea:1b", "gguf"),
        ("lmstudio:a/b", "gguf"),
        ("a/b", "hub"),
    ],
)
def test_a_base_is_given_by_its_name(name: str, plugin: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PRESET)
    base = config.load(file, {"base": name}).base
    assert base.use == plugin and (plugin == "scratch" or name in base.options.values())
