"""Laws of where a finished file goes: what other programs need is beside it, and what they refuse ends no run."""

import logging
import stat
import sys
from pathlib import Path

import pytest

from understudy import config
from understudy.exporters import templates
from understudy.records import AssetRef, ChatExample, FusedCard, GgufCard, Message, ModelRefs, TemplateCheck
from understudy.stages import install
from understudy.workspace import Workspace

RUN = "0a1b2c3d"
STOPS = ["<|eot_id|>", "<|end_of_text|>"]
PROGRAM = f"""#!{sys.executable}
import pathlib, sys
beside = pathlib.Path(__file__).parent
modelfile = pathlib.Path(sys.argv[4])
(beside / "arguments.txt").write_text("\\n".join([*sys.argv[1:], modelfile.read_text()]))
weights = modelfile.parent / modelfile.read_text().splitlines()[0].removeprefix("FROM ")
sys.exit("Error: no such weights" if not weights.is_file() or (beside / "broken").exists() else 0)
"""


@pytest.fixture
def workspace(tmp_path: Path, root: Path) -> Workspace:
    changes = {"name": "candles"}
    return Workspace(home=tmp_path, config=config.load(root / "deployments/presets/tiny.yaml", changes))


def with_export(workspace: Workspace, **settings: str) -> Workspace:
    export = workspace.config.export.model_copy(update=settings)
    return workspace.model_copy(update={"config": workspace.config.model_copy(update={"export": export})})


def exported(workspace: Workspace, family: str | None = "llama3", context: int = 2048) -> ModelRefs:
    """Two files of a run, as `convert` and `quantize` leave them behind."""

    def fused(out: Path) -> FusedCard:
        (out / "config.json").write_text(f'{{"max_position_embeddings": {context}}}')
        return FusedCard(architecture="llama", parameters=1, changed_share=0.5)

    def file(kind: str, size: int, name: str) -> AssetRef:
        def make(out: Path) -> GgufCard:
            out.write_bytes(b"GGUF" + b"\0" * size)
            check = TemplateCheck(family=family, stops=STOPS) if name == "f16" else None
            return GgufCard(type=kind, tensor_types={}, bits_per_weight=8, template=check, question="?", answer="!")

        return workspace.build(name, make, f"of {kind}", run=RUN, type=kind)

    folder = workspace.build("fused", fused, "fused", run=RUN)
    files = {"F16": file("F16", 200, "f16"), "Q8_0": file("Q8_0", 100, "gguf")}
    return ModelRefs(run=RUN, base=folder, adapter=folder, fused=folder, files=files)


def train(workspace: Workspace, *roles: str) -> AssetRef:
    rows = [ChatExample(messages=[Message(role=role, content=f"the {role}") for role in roles])]  # type: ignore[arg-type]
    return workspace.save("train", rows, "train")


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that notes its arguments and looks for the weights."""
    file = tmp_path / "bin" / "ollama"
    file.parent.mkdir()
    file.write_text(PROGRAM)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(file.parent))
    return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home folder without LM Studio."""
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    return tmp_path / "person"


def test_beside_every_file_lies_a_modelfile_that_names_it(workspace: Workspace) -> None:
    refs = install.modelfiles(workspace, exported(workspace), train(workspace, "user", "assistant"))
    for kind, ref in refs.items():
        lines = workspace.file(ref).read_text().splitlines()
        assert lines[0] == f"FROM ./candles-{kind}.gguf" and (workspace.file(ref).parent / lines[0][7:]).is_file()
        assert [line for line in lines if "stop" in line] == [f'PARAMETER stop "{stop}"' for stop in STOPS]
        assert "PARAMETER num_ctx 2048" in lines and "PARAMETER temperature 0.7" in lines
        assert templates.family("llama3").ollama_template() in workspace.file(ref).read_text()
        assert not any(line.startswith("SYSTEM") for line in lines)
    assert set(refs) == {"F16", "Q8_0"}


def test_a_system_message_of_training_is_in_it_and_no_other(workspace: Workspace) -> None:
    ref = install.modelfiles(workspace, exported(workspace), train(workspace, "system", "user", "assistant"))["Q8_0"]
    assert 'SYSTEM """the system"""' in workspace.file(ref).read_text()


def test_a_template_that_is_no_known_family_is_left_to_the_file(workspace: Workspace) -> None:
    ref = install.modelfiles(workspace, exported(workspace, family=None))["Q8_0"]
    assert 'TEMPLATE "' not in workspace.file(ref).read_text() and "0.30" in workspace.file(ref).read_text()


def test_a_long_context_is_not_paid_for_from_the_first_word(workspace: Workspace) -> None:
    ref = install.modelfiles(workspace, exported(workspace, context=131_072))["Q8_0"]
    assert f"num_ctx {install.CONTEXT_TOKENS}" in workspace.file(ref).read_text()


def test_what_is_written_already_is_not_written_again(workspace: Workspace) -> None:
    model = exported(workspace)
    ref = install.modelfiles(workspace, model)["Q8_0"]
    before = workspace.file(ref).stat().st_mtime_ns
    assert install.modelfiles(workspace, model)["Q8_0"] == ref
    assert workspace.file(ref).stat().st_mtime_ns == before


def test_by_default_lines_are_given_and_no_program_is_started(workspace: Workspace, ollama: Path, home: Path) -> None:
    model = exported(workspace)
    install.modelfiles(workspace, model)
    lines = install.how_to_run(workspace, model, {})
    file = workspace.file(model.files["Q8_0"])
    assert lines == [
        f"{install.program()} chat candles/{RUN} --home {workspace.home}",
        f"ollama create candles -f {file.with_suffix('.Modelfile')}",
        "ollama run candles",
        f"lms import {file}",
    ]
    assert not ollama.with_name("arguments.txt").exists() and not home.exists()


def test_ollama_is_given_the_modelfile_where_the_preset_asks(workspace: Workspace, ollama: Path, home: Path) -> None:
    workspace = with_export(workspace, ollama="auto")
    model = exported(workspace)
    install.modelfiles(workspace, model)
    lines = install.how_to_run(workspace, model, {})
    arguments = ollama.with_name("arguments.txt").read_text()
    file = workspace.file(model.files["Q8_0"]).with_suffix(".Modelfile")
    assert arguments.splitlines()[:4] == ["create", "candles", "-f", str(file)]
    assert arguments.endswith(file.read_text()) and "ollama run candles" in lines
    assert not any("create" in line for line in lines)


def test_an_ollama_that_fails_ends_no_run(
    workspace: Workspace, ollama: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = with_export(workspace, ollama="auto")
    ollama.with_name("broken").touch()
    model = exported(workspace)
    install.modelfiles(workspace, model)
    with caplog.at_level(logging.WARNING):
        lines = install.how_to_run(workspace, model, {})
    assert any(line.startswith("ollama create candles") for line in lines)
    assert "no such weights" in caplog.text


def test_lm_studio_gets_the_file_only_where_it_is_installed(workspace: Workspace, home: Path) -> None:
    workspace = with_export(workspace, lm_studio="auto")
    model = exported(workspace)
    file = workspace.file(model.files["Q8_0"])
    assert f"lms import {file}" in install.how_to_run(workspace, model, {}) and not home.exists()
    (home / ".lmstudio").mkdir(parents=True)
    placed = home / ".lmstudio/models/understudy/candles/candles-Q8_0.gguf"
    assert str(placed) in install.how_to_run(workspace, model, {})[-1]
    assert placed.samefile(file)


def test_a_refused_file_goes_nowhere(workspace: Workspace, ollama: Path, home: Path) -> None:
    workspace = with_export(workspace, ollama="auto")
    model = exported(workspace)
    install.modelfiles(workspace, model)
    install.how_to_run(workspace, model, {"Q8_0": "differs"})
    assert "candles-F16.Modelfile" in ollama.with_name("arguments.txt").read_text()
    assert install.how_to_run(workspace, model, {"Q8_0": "differs", "F16": "differs"}) == [
        "no file is offered: the parity check refused all of them, see the report"
    ]


@pytest.mark.parametrize("value", [False, "off", "auto"])
def test_yamls_off_is_off(root: Path, value: object) -> None:
    loaded = config.load(root / "deployments/presets/tiny.yaml", {"export.ollama": value})
    assert loaded.export.ollama == (value or "off")
