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
    for part in ("name", "seed", "trainer.rank", "unknown teacher 'gtp'; choose from auto, extractive", "split.test"):
        assert part in text


def test_a_value_out_of_range_is_shown(tmp_path: Path) -> None:
    assert "got 0" in problems(tmp_path, **{"trainer.rank": 0})[0]


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words"])
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


def loaded(tmp_path: Path, text: str, **changes: Any) -> config.Config:
    file = tmp_path / "My Talks.yaml"
    file.write_text(text)
    return config.load(file, changes)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "permission: owned"])
def test_an_empty_preset_is_the_demos(tmp_path: Path, text: str) -> None:
    demo = config.load(DEMO.with_name("demo.yaml"))
    assert loaded(tmp_path, text).model_dump() == demo.model_dump()


def test_a_preset_with_talks_takes_its_name_from_its_file_and_the_rest_costs_nothing(tmp_path: Path) -> None:
    own = loaded(tmp_path, "source: {use: documents, path: .}")
    assert (own.name, own.teacher.use, own.trainer.use, own.permission) == ("my-talks", "auto", "mlx_lora", None)
    assert own.base == config.load(DEMO.with_name("demo.yaml")).base


@pytest.mark.parametrize("section", ["source", "teacher", "base", "trainer", "split", "evaluate"])
def test_every_section_of_the_demo_may_be_left_out(tmp_path: Path, section: str) -> None:
    import yaml

    raw = yaml.safe_load(DEMO.read_text())
    del raw[section]
    assert loaded(tmp_path, yaml.safe_dump(raw)).name == "sample"


def test_another_plugin_starts_without_the_options_of_the_one_before(tmp_path: Path) -> None:
    text = PRESET.replace("{use: extractive}", "{use: extractive, min_answer_words: 40}")
    changed = loaded(tmp_path, text, **{"teacher.model": "m", "teacher.use": "openai"})  # in whatever order
    assert changed.teacher.use == "openai" and changed.teacher.options == {"model": "m"}
    assert loaded(tmp_path, text, **{"teacher.use": "extractive"}).teacher.options == {"min_answer_words": 40}
    assert loaded(tmp_path, text, **{"teacher": "openai", "teacher.model": "m"}).teacher.options == {"model": "m"}


def test_an_option_of_another_plugin_names_the_plugins_that_have_it(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, **{"teacher.model": "m"})
    assert problem == (
        "teacher.model: the teacher 'extractive' has no such option; choose one that has it: "
        "--set teacher.use=llama_cpp or --set teacher.use=openai"
    )
    assert "--model gpt-5-mini" in problems(tmp_path, teacher="openai")[0]


def test_a_name_that_is_none_comes_with_one_that_is(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, name="My Talks")
    assert problem.endswith("take --set name=my-talks")


def test_problems_of_every_section_come_at_once_also_where_the_talks_are_not_there(tmp_path: Path) -> None:
    wrong = {"verify.use": "opnai", "trainer.rnk": 3, "source.path": str(tmp_path / "no"), "evaluate.judge.use": "x"}
    messages = problems(tmp_path, **wrong, **{"gates": [{"use": "length"}, {"use": "lenght"}]})
    text = "\n".join(messages)
    parts = (
        "verify: unknown teacher",
        "trainer.rnk",
        "there is no folder",
        "evaluate.judge: unknown",
        "gates[1]: unknown",
    )
    assert all(part in text for part in parts) and len(messages) == len(parts)
    assert len(problems(tmp_path, **wrong, seed=-1)) == 5


def test_talks_may_be_in_the_public_domain(tmp_path: Path) -> None:
    from understudy.dataset import card
    from understudy.runs import hub

    permission = loaded(tmp_path, PRESET, permission="public_domain").permission
    assert permission in card.PERMISSION and permission in hub.MAY_BE_GIVEN_ON
