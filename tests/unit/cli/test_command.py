"""The command `understudy`: every verb, its options before and after it, and one sentence for what is wrong."""

import json
import os
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from understudy.deployments import packaged

from understudy import cli, config, registry
from understudy.cli import VERBS, main, run
from understudy.workspace import Workspace


def module(verb: str) -> str:
    name = VERBS[verb][0]
    return name if "." in name else f"understudy.cli.{name}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_that_its_parser_accepts(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    text = capsys.readouterr().out
    example = import_module(module(verb)).EXAMPLE
    assert end.value.code == 0 and f"Example: {example}" in text and f"usage: understudy {verb} " in text
    program, *arguments = example.split()
    args, _ = cli._parsed(arguments)
    assert program == "understudy" and args.verb == verb


@pytest.mark.parametrize("before", [True, False])
def test_common_options_stand_before_or_after_the_verb(
    before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--home", str(tmp_path), "--json", "--quiet"]
    assert main([*common, "status"] if before else ["status", *common]) == 0
    assert json.loads(capsys.readouterr().out) == {}
    with pytest.raises(SystemExit) as end:
        main(["--version", "status"] if before else ["chat", "--version"])
    assert end.value.code == 0 and re.fullmatch(r"understudy \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stauts"], "no verb 'stauts'; did you mean 'status'?"),
        (["Status"], "did you mean 'status'?"),
        (["train"], "type: understudy run --only model"),
        (["/"], "to use it, type: understudy run --documents /"),
        (["--preset", "demo"], "type: understudy run --preset demo"),
        (["run", "--documents", "my", "talks"], "'talks' is one word too many; put quotes"),
        (["--hom", "x", "status"], "unknown option '--hom'; did you mean '--home'?"),
        (["run", "--presett", "x"], "unknown option '--presett'; did you mean '--preset'?"),
        (["run", "--only", "modle"], "invalid choice: 'modle'"),
        (["import", "x"], "required: --channel"),
    ],
)
def test_what_is_unknown_is_named_with_the_nearest(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    error = capsys.readouterr().err
    assert end.value.code == 2 and sentence in error and len(error.splitlines()) == 2


def test_the_default_home_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 0 and f"no channel under {tmp_path / 'data'}" in capsys.readouterr().out
    assert main(["status"], home=tmp_path / "other") == 0 and "other/data" in capsys.readouterr().out


def test_a_verb_for_people_has_no_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("chat", "serve", "review x", "compare x"):
        assert main([*verb.split(), "--json", "--home", str(tmp_path)]) == 2
        assert "it has no --json" in capsys.readouterr().err


def test_the_sample_channel_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preset = config.load(packaged.preset("demo"))
    source = registry.build("source", preset.source.use, preset.source.options)
    assert source.problems() == [] and len(list(source.entries())) == 26
    nowhere = registry.build("source", "documents", {"path": "package:understudy.nowhere/talks"})
    assert "there is no folder 'package:understudy.nowhere/talks'" in nowhere.problems()[0]


def test_keys_are_read_from_the_home_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("KEY_OF_HOME=1\nKEY_OF_BOTH=1\n")
    monkeypatch.setattr(os, "environ", os.environ | {"KEY_OF_BOTH": "2"})
    run._read_keys(tmp_path)
    assert (os.environ["KEY_OF_HOME"], os.environ["KEY_OF_BOTH"]) == ("1", "2")


def test_help_is_answered_at_once() -> None:
    """Half a second is the promise; a process of Python alone takes a part of that, so the best of three counts."""
    for arguments in (["-m", "understudy", "--help"], ["-c", "import understudy"]):
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 0.5, arguments


def test_what_is_typed_instead_of_a_verb_is_a_command_that_exists() -> None:
    for word, typed in cli.OTHER_WORDS.items():
        assert word not in VERBS and (typed.startswith("--") or typed.split()[0] in VERBS)
        if not typed.startswith("--"):
            cli._parsed(typed.split())


def test_base_teacher_and_model_stand_for_changes_of_the_preset() -> None:
    words = ["run", "--base", "scratch", "--teacher", "openai", "--model", "m", "--preset", "tiny"]
    args, _ = cli._parsed(words)
    args.home = Path()
    preset = run._workspace(args).config
    assert (preset.base.use, preset.teacher.use, preset.teacher.options) == ("scratch", "openai", {"model": "m"})


def test_the_log_begins_with_program_command_and_every_setting_and_holds_no_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"ledger": "postgresql://me@database.example/x", "trainer.rank": 7}
    workspace = Workspace(home=tmp_path, config=config.load(packaged.preset("tiny"), changes))
    with caplog.at_level("DEBUG", "understudy"):
        run.begin(workspace, "model")
    text = "\n".join(caplog.messages)
    for part in (
        "understudy 0.",
        "command: ",
        "part: model",
        "settings:   rank: 7",
        "settings: seed: 42",
        "ledger: (set, not shown)",
    ):
        assert part in text, part
    assert "database.example" not in text
