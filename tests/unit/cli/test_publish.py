"""`understudy publish`: nothing is uploaded without a yes, nothing without permission."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.hub import Hub, fill, running
from tests.unit.runs.test_find import refuse
from tests.unit.runs.test_model_card import about, scorecard  # noqa: F401  # `about` is a fixture
from understudy import config
from understudy.__main__ import main
from understudy.channel import home as home_format
from understudy.cli.publish import publish
from understudy.errors import ConfigError
from understudy.runs import model_card
from understudy.runs.model_card import About

REPOSITORY = "somebody/candles"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_nobody")
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def home(tmp_path: Path, about: About) -> Path:  # noqa: F811
    """A scored run with two files, and the dataset it was made of."""
    run = tmp_path / "models/candles/0a1b2c3d"
    fill(run, ("gguf/candles-Q8_0.gguf", "gguf/candles-Q4_K_M.gguf", "gguf/candles-Q4_K_M.Modelfile"))
    fill(run, ("fused/config.json", "fused/model.safetensors", "report.html"))
    fill(tmp_path / "data/candles", ("dataset/train.jsonl", "documents/a/document.json", "ledger.sqlite"))
    home_format.mark(tmp_path)
    score(tmp_path, about)
    return tmp_path


def score(home: Path, known: About) -> None:
    run = home / "models/candles/0a1b2c3d"
    (run / "README.md").write_text(model_card.write(known), encoding="utf-8")
    (run / "scorecard.json").write_text(known.scorecard.model_dump_json())


def run(home: Path, *words: str) -> int:
    return main(["--home", str(home), "publish", "candles", "--repo", REPOSITORY, *words])


def test_yes_uploads_the_model_and_nothing_of_the_data(
    hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "--yes") == 0
    output = capsys.readouterr().out
    for words in (f"{hub.url}/{REPOSITORY}, private:", "candles-Q8_0.gguf", "permission: owned", "8 of 8 files sent"):
        assert words in output
    assert {"README.md", "scorecard.json", "report.html", "model.safetensors"} < set(hub.files)
    assert not any(word in name for name in hub.files for word in ("train", "document", "ledger"))
    assert hub.created[0]["visibility"] == "private"
    assert run(home, "--yes") == 0 and "0 of 8 files sent" in capsys.readouterr().out


@pytest.mark.parametrize("reply", ["", "n", "what"])
def test_nothing_is_sent_without_a_yes(hub: Hub, home: Path, reply: str) -> None:
    questions = []
    result = publish(home / "models", "candles", REPOSITORY, ask=lambda question: questions.append(question) or reply)
    assert result.status == 1 and "Nothing was sent" in result.text and not hub.tokens
    assert "candles-Q8_0.gguf" in questions[0], "the question names what would be sent"


def test_an_end_of_input_is_no_yes(hub: Hub, home: Path) -> None:
    def ended(question: str) -> str:
        raise EOFError

    assert publish(home / "models", "candles", REPOSITORY, ask=ended).status == 1
    assert not hub.tokens


def test_a_typed_yes_uploads(hub: Hub, home: Path) -> None:
    assert publish(home / "models", "candles", REPOSITORY, private=False, ask=lambda _: "y\n").status == 0
    assert hub.files and hub.created[0]["visibility"] == "public"


def test_a_refused_file_is_left_out_and_named(hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(home / "models/candles/0a1b2c3d", "Q4_K_M", "fused")
    assert run(home, "--yes") == 0
    assert "left out, refused: Q4_K_M: Q4_K_M differs" in capsys.readouterr().out
    assert set(hub.files) == {"README.md", "scorecard.json", "report.html", "candles-Q8_0.gguf"}


def test_worse_needs_force(hub: Hub, home: Path, about: About, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (home / "models/candles/0a1b2c3d/scorecard.json").write_text(scorecard(broken="worse").model_dump_json())
    assert run(home, "--yes") == 2
    assert "worse than the base in broken; --force" in capsys.readouterr().err and not hub.tokens
    assert run(home, "--yes", "--force") == 0 and hub.files


def test_every_reason_against_it_is_told_at_once(
    hub: Hub,
    home: Path,
    about: About,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = about.base.model_copy(update={"name": "somebody/model", "notes": {}})
    settings = about.config.model_copy(update={"permission": "own_risk"})
    score(home, About(**{**vars(about), "base": base, "config": settings}))
    (home / "models/candles/0a1b2c3d/scorecard.json").unlink()
    assert run(home, "--yes", "--force") == 2
    output = capsys.readouterr().err
    for words in ("own_risk", "licence is not stated", "publish.base_licence", "no scorecard.json"):
        assert words in output
    assert not hub.tokens


def test_a_licence_in_the_preset_opens_the_way(hub: Hub, home: Path, about: About) -> None:  # noqa: F811
    base = about.base.model_copy(update={"name": "somebody/model", "notes": {}})
    settings = about.config.model_copy(update={"publish": config.PublishSettings(base_licence="apache-2.0")})
    score(home, About(**{**vars(about), "base": base, "config": settings}))
    assert run(home, "--yes") == 0


def test_a_scorecard_that_cannot_be_read_is_no_scorecard(
    hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "models/candles/0a1b2c3d/scorecard.json").write_text("{}")
    assert run(home, "--yes", "--force") == 2
    assert "cannot be read as a scorecard" in capsys.readouterr().err


def test_a_channel_or_run_that_is_not_there_is_named(hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home), "publish", "candels", "--repo", REPOSITORY]) == 2
    assert "candles" in capsys.readouterr().err
    assert run(home, "--run", "ffff", "--yes") == 2
    assert "0a1b2c3d" in capsys.readouterr().err


def test_a_hub_that_fails_is_told_without_a_traceback(hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.status = 401
    assert run(home, "--yes") == 2
    output = capsys.readouterr().err
    assert "401" in output and "hf_secret" not in output and len(output.splitlines()) == 1


def test_private_things_are_not_published_unasked(home: Path, hub: Hub) -> None:
    samples = home / "models/candles/0a1b2c3d/samples"
    fill(home / "models/candles/0a1b2c3d", ("samples/base.jsonl",))
    (samples / "base.jsonl").write_text('{"text": "Write to anna.b@forge-guild.org."}\n{"text": null}\n')
    with pytest.raises(ConfigError, match=r"private things: e-mail address \(1\); mask them and train again"):
        publish(home / "models", "candles", REPOSITORY, yes=True)
    assert not hub.commits
    assert publish(home / "models", "candles", REPOSITORY, yes=True, force=True).status == 0
