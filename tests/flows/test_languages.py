"""A channel in another language goes from its files to a scored model: nothing on the way takes it for English."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import LEAN, ROOT
from understudy.calls.written import read
from understudy.cli.record import from_markdown
from understudy.config import load
from understudy.records import Pair, Scorecard
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
LANGUAGES = ("zh", "ja", "th", "ar", "hi", "ru", "de", "tr")
PAIRS_PER_TALK, TALKS = 3, 3
THAI = ROOT / "tests/fixtures/thai.md"


def written(language: str) -> list[tuple[str, str]]:
    """Questions and good answers in a language."""
    if language == "th":
        return [(pair.question, pair.answer) for pair in read(THAI)]
    lines = (ROOT / "tests/fixtures/labelled_answers.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(r["question"], r["answer"]) for r in rows if r["language"] == language and r["gate"] is None]


def talks_of(language: str, folder: Path) -> tuple[Path, Path]:
    """Folders of talks, and of what a teacher would say about each."""
    talks, replies = folder / "talks", folder / "replies"
    talks.mkdir(parents=True)
    replies.mkdir()
    pairs = written(language)[: PAIRS_PER_TALK * TALKS]
    for talk in range(TALKS):
        own = pairs[talk * PAIRS_PER_TALK : (talk + 1) * PAIRS_PER_TALK]
        paragraphs = [f"{question} {' '.join(answer.replace('**', '').split())}" for question, answer in own]
        (talks / f"talk-{talk}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
        replies_of_talk = [
            f"## {n}. {question}\nparagraphs: {n - 1}-{n - 1}\n\n{text}" for n, (question, text) in enumerate(own, 1)
        ]
        (replies / f"talk-{talk}.md").write_text("\n\n".join(replies_of_talk), encoding="utf-8")
    return talks, replies


def run(language: str, folder: Path, only: str | None = None) -> tuple[Workspace, Any]:
    """A channel of three talks in a language, as far as the part `only`."""
    from understudy.flows.pipeline import pipeline

    talks, replies = talks_of(language, folder)
    settings = LEAN | {
        "name": "abroad",
        "permission": "owned",
        "source": {"use": "documents", "path": str(talks)},
        "questions.seconds_per_question": 5,
        "questions.at_most": PAIRS_PER_TALK,
        "split": {"valid": 0.3, "test": 0.3, "min_documents": 1},
    }
    preset = ROOT / "deployments/presets/tiny.yaml"
    recording = folder / "replies.jsonl"
    from_markdown(recording, replies, load(preset, settings))
    config = load(preset, settings | {"teacher": {"use": "replay", "file": str(recording)}})
    workspace = Workspace(home=folder / "home", config=config)
    return workspace, pipeline(config=config, home=workspace.home, only=only)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_good_pair_of_a_language_is_kept(language: str, tmp_path: Path) -> None:
    workspace, outcome = run(language, tmp_path, "dataset")
    pairs: list[Pair] = workspace.rows(outcome.dataset.pairs)
    assert len(pairs) == PAIRS_PER_TALK * TALKS
    assert {pair.question: pair.reason for pair in pairs if not pair.kept} == {}
    assert {pair.question for pair in pairs} == {question for question, _ in written(language)[: len(pairs)]}
    assert min(getattr(outcome.dataset, split).rows for split in ("train", "valid", "test")) == PAIRS_PER_TALK


def test_a_language_without_spaces_goes_all_the_way_to_a_scored_model(tmp_path: Path) -> None:
    workspace, outcome = run("th", tmp_path)
    card: Scorecard = workspace.read(outcome.score.scorecard)
    assert card.test_pairs == PAIRS_PER_TALK and card.differences["nll_per_token"].value < 0
    page = workspace.file(outcome.score.report).read_text(encoding="utf-8")
    assert any(question in page for question, _ in written("th"))
