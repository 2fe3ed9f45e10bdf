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


def test_pairs_that_are_there_and_talks_are_not_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pairs and channel and documents: "):
        Changes(documents="talks", channel="@someone", pairs="p.jsonl").settings(tmp_path)


def test_channels_a_podcast_and_a_folder_are_sources_of_one_teacher(tmp_path: Path) -> None:
    talks = tmp_path / "my talks"
    config = Changes(
        channel="@anna @Bob @anna", podcast="https://example.org/tea/feed.xml", documents=str(talks)
    ).applied(load(TINY), tmp_path)
    assert [spec.use for spec in config.sources] == ["youtube", "youtube", "podcast", "documents"]
    assert config.source == config.sources[0] and config.name == "anna"
    assert len(config.sources_by_key) == 4 and next(iter(config.sources_by_key)) == ""
    alone = Changes(documents=str(talks)).applied(config, tmp_path)
    assert (alone.sources, alone.source.use, alone.name) == ([], "documents", "my-talks")
    feed = Changes(podcast="https://example.org/tea/feed.xml").applied(config, tmp_path)
    assert (feed.sources, feed.source.use, feed.name) == ([], "podcast", "example-org-tea")
