"""One set of changes for the command line and for the form of a deployment."""

from pathlib import Path

import pytest

from understudy.config import load
from understudy.errors import ConfigError
from understudy.runs.changes import NOTHING, Changes

TINY = Path(__file__).resolve().parents[3] / "deployments/presets/tiny.yaml"


def test_nothing_changes_nothing(tmp_path: Path) -> None:
    config = load(TINY)
    assert NOTHING.applied(config, tmp_path) is config


def test_each_change_ends_up_at_its_key_and_the_rest_of_the_preset_stays(tmp_path: Path) -> None:
    config = load(TINY)
    talks = tmp_path / "My Talks"
    talks.mkdir()
    change = Changes(documents=str(talks), base="Qwen/Qwen3-0.6B", learning_rate=1e-4, epochs=2, rank=4, questions=9)
    changed = change.applied(config, tmp_path)
    assert changed.name == "my-talks" and changed.source.options == {"path": str(talks)}
    assert changed.base.options == {"repository": "Qwen/Qwen3-0.6B"}
    options = config.trainer.options | {"learning_rate": 1e-4, "epochs": 2, "rank": 4}
    assert changed.trainer.options == options and changed.questions.at_most == 9
    assert (changed.gates, changed.export, changed.seed) == (config.gates, config.export, config.seed)


def test_a_teacher_of_another_kind_leaves_the_options_of_the_first_behind(tmp_path: Path) -> None:
    config = load(TINY, {"teacher": {"use": "openai", "model": "gpt-5-mini", "temperature": 0.2}})
    assert Changes(teacher="extractive").applied(config, tmp_path).teacher.options == {}
    assert Changes(model="gpt-5").applied(config, tmp_path).teacher.options == {"model": "gpt-5", "temperature": 0.2}


def test_a_folder_and_a_channel_are_not_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="documents and channel: take one of them"):
        Changes(documents="talks", channel="@someone").settings(tmp_path)
