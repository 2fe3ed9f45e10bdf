"""Everything wrong with a preset is found at once and said with the way out."""

from pathlib import Path
from typing import Any

import pytest

from understudy import config
from understudy.errors import ConfigError

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


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path, name="Not A Name", seed=-1, **{"trainer.rank": 0, "teacher.use": "gtp", "split.test": 1.5}
    )
    text = "\n".join(found)
    assert len(found) == 5
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
    loaded = config.load(file, {"base.updates": 7, "export.types": ["Q8_0"]})
    assert loaded.base.options == {"updates": 7} and loaded.export.types == ["Q8_0"]
    assert config.load(file, {"base": "some/repo"}).base.options == {"repository": "some/repo"}
