"""A run that cannot end well is refused before it starts, with every reason and without a trace."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.models.exporters.gguf_models import make_model
from understudy import preflight
from understudy.channel import home
from understudy.channel.lease import alone
from understudy.channel.ledger import Row
from understudy.config import load
from understudy.errors import ConfigError
from understudy.workspace import Workspace

DEMO = Path(__file__).resolve().parents[2] / "deployments/presets/tiny.yaml"


def problems(home: Path, only: Any = None, **changes: Any) -> list[str]:
    workspace = Workspace(home=home, config=load(DEMO, changes))
    with pytest.raises(ConfigError) as error:
        preflight.check(workspace, only)
    return error.value.problems


def test_a_good_preset_passes_and_leaves_no_trace(tmp_path: Path) -> None:
    home = tmp_path / "home"
    preflight.check(Workspace(home=home, config=load(DEMO)))
    assert not home.exists()


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    messages = problems(tmp_path, **{"source.path": str(tmp_path / "no"), "export.types": ["Q9_9", "Q8_0"]})
    assert len(messages) == 2 and "there is no folder" in messages[0] and "Q9_9" in messages[1]


def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "is a file, where a folder is needed" in problems(tmp_path)[0]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "access", lambda path, mode: False)  # root may write anywhere
    assert "cannot be written to" in problems(tmp_path)[0]


def test_too_little_space_is_told_in_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FREE_BYTES", 10**18)
    assert "MB free" in problems(tmp_path)[0]


def test_a_broken_ledger_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "data/sample").mkdir(parents=True)
    home.mark(tmp_path)
    (tmp_path / "data/sample/ledger.sqlite").write_bytes(b"no database " * 100)
    assert "move it away" in problems(tmp_path)[0]


@pytest.mark.parametrize("only", ["model", "score"])
def test_a_part_without_the_parts_before_it_is_refused(tmp_path: Path, only: str) -> None:
    assert "run without --only first" in problems(tmp_path, only)[0]


def test_two_folders_of_one_name_do_not_take_each_others_channel(tmp_path: Path) -> None:
    first, second = tmp_path / "one/talks", tmp_path / "two/talks"
    for folder, name in ((first, "a.txt"), (second, "b.txt")):
        folder.mkdir(parents=True)
        (folder / name).write_text("words " * 60)

    def of(folder: Path) -> Workspace:
        changes = {"name": "talks", "source": {"use": "documents", "path": str(folder)}}
        return Workspace(home=tmp_path / "home", config=load(DEMO.with_name("documents.yaml"), changes))

    of(first).ledger.record(Row("a.txt", "A", "a.txt", "1", "ok"))
    preflight.check(of(first), "dataset")
    with pytest.raises(ConfigError, match=r"data/talks holds talks of another folder .* --set name=talks-2"):
        preflight.check(of(second), "dataset")
    (second / "a.txt").write_text("the folder was moved, and grew")
    preflight.check(of(second), "dataset")


def test_a_channel_is_busy_while_a_run_of_it_works(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path, config=load(DEMO))
    assert preflight.busy(workspace) is None
    with alone(workspace.folder):
        assert f"process {os.getpid()}" in (preflight.busy(workspace) or "")


def test_a_base_that_no_file_could_be_written_of_is_refused_before_the_first_second(tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_model(base)
    assert preflight.check(Workspace(home=tmp_path / "home", config=load(DEMO, {"base": str(base)}))) is None
    config = json.loads((base / "config.json").read_text()) | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    (base / "config.json").write_text(json.dumps(config))
    [problem] = problems(tmp_path / "home", base=str(base))
    assert problem.startswith("base: ") and "rope type 'dynamic'" in problem


def test_a_gguf_file_that_is_cut_short_is_refused_before_the_first_second(tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + bytes(20))
    [problem] = problems(tmp_path / "home", base=str(tmp_path / "cut.gguf"))
    assert "cut short or damaged" in problem
