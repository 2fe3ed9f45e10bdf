"""Items with right titles and synonyms: a wrong title is no hit, one that is not there is a mistake of the file."""

import json
from pathlib import Path

import pytest

from understudy.errors import ConfigError
from understudy.scoring.suites.retrieval import load, outcome

ITEM = {
    "item_id": "q1",
    "question": "How often does the bell ring?",
    "contexts": [
        {"title": "The Tide Bell", "text": "It rings twice."},
        {"title": "The Fog Bell", "text": "It is loud."},
    ],
    "titles": ["The Tide Bell"],
    "keywords": [["twice", "two times"], "rings"],
    "topic": "bells",
    "reference": "It rings twice.",
}


def written(folder: Path, **changes: object) -> Path:
    file = folder / "benchmark.jsonl"
    file.write_text(json.dumps(ITEM | changes) + "\n", encoding="utf-8")
    return file


def test_any_of_several_words_will_do_and_only_the_right_title(tmp_path: Path) -> None:
    [item] = load(written(tmp_path))
    assert outcome(item, "It rings two times, says The Tide Bell.")[2:] == (1.0, True)
    assert outcome(item, "It rings twice, says The Fog Bell.")[2:] == (1.0, False)
    assert outcome(item, "It is loud.")[2:] == (0.0, False)


def test_a_title_that_no_text_has_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 1: .*no context has the title 'The Sun Dial'"):
        load(written(tmp_path, titles=["The Sun Dial"]))
