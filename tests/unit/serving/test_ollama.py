"""Laws of the Modelfile, of `ollama create` (a program of that name that notes its arguments), and of LM Studio."""

import stat
import sys
from pathlib import Path

import pytest

from understudy.errors import ConfigError, ExportError
from understudy.serving import lmstudio
from understudy.serving.ollama import create, lines, modelfile

PROGRAM = f"""#!{sys.executable}
import pathlib, sys
pathlib.Path(__file__).with_name("arguments.txt").write_text("\\n".join(sys.argv[1:]))
if sys.argv[2] == "broken":
    sys.exit("Error: could not connect to ollama app")
"""
STOPS = ["<|eot_id|>", "<|end_of_text|>"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a Modelfile and a file to run; its name holds a space."""
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / "m.gguf").write_bytes(b"GGUF")
    (folder / "Modelfile").write_text(modelfile("m.gguf", None, STOPS, {}, 2048))
    return folder


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "bin" / "ollama"
    file.parent.mkdir()
    file.write_text(PROGRAM)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(file.parent))
    return file


def test_a_modelfile_says_all_that_decides_the_prompt() -> None:
    text = modelfile(
        "m.gguf",
        "{{ .System }}\n{{ .Prompt }}",
        [*STOPS, STOPS[0]],
        {"temperature": 0.7, "top_k": 40},
        4096,
        system="Be brief.",
    )
    assert text == (
        "FROM ./m.gguf\n"
        'TEMPLATE """{{ .System }}\n{{ .Prompt }}"""\n'
        'SYSTEM """Be brief."""\n'
        'PARAMETER stop "<|eot_id|>"\n'
        'PARAMETER stop "<|end_of_text|>"\n'
        "PARAMETER temperature 0.7\n"
        "PARAMETER top_k 40\n"
        "PARAMETER num_ctx 4096\n"
    )


def test_what_training_had_not_is_not_in_a_modelfile() -> None:
    text = modelfile("m.gguf", None, ['say "end"'], {}, 512)
    assert 'TEMPLATE "' not in text and "SYSTEM" not in text
    assert "0.30" in text and 'PARAMETER stop """say "end""""' in text


def test_everything_wrong_with_a_modelfile_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        modelfile("../m.gguf", 'a """ b', [], {"Top K": 1}, 0, system='"""')
    assert len(error.value.problems) == 6


def test_the_model_is_created_by_the_program(run: Path, program: Path) -> None:
    assert create(run / "Modelfile", "candles:q8") == ["ollama run candles:q8"]
    arguments = program.with_name("arguments.txt").read_text().splitlines()
    assert arguments == ["create", "candles:q8", "-f", str(run / "Modelfile")]


def test_without_the_program_the_two_lines_are_given(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    arguments = create(run / "Modelfile", "candles")
    assert (
        arguments
        == lines(run / "Modelfile", "candles")
        == [f"ollama create candles -f '{run / 'Modelfile'}'", "ollama run candles"]
    )


def test_what_the_program_complains_of_is_reported(run: Path, program: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)code 1.*ollama serve.*could not connect"):
        create(run / "Modelfile", "broken")


@pytest.mark.parametrize("name", ["", "Candles", "-f", "a b", "../x", "a;b"])
def test_a_name_ollama_would_refuse_reaches_no_program(run: Path, program: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a name for Ollama"):
        create(run / "Modelfile", name)
    assert not program.with_name("arguments.txt").exists()


def test_a_folder_without_a_modelfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no .*Modelfile; export"):
        create(tmp_path / "Modelfile", "candles")


def test_a_file_lies_where_lm_studio_looks_and_takes_no_space(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        out = lmstudio.place(run / "m.gguf", "me", "candles", tmp_path / "models")
        assert out == tmp_path / "models" / "me" / "candles" / "m.gguf"
        assert out.samefile(run / "m.gguf")
    assert [f.name for f in out.parent.iterdir()] == ["m.gguf"]


def test_a_newer_file_takes_the_place_of_an_older(run: Path, tmp_path: Path) -> None:
    out = lmstudio.place(run / "m.gguf", "me", "candles", tmp_path / "models")
    (run / "m.gguf").unlink()
    (run / "m.gguf").write_bytes(b"GGUF newer")
    assert (
        lmstudio.place(run / "m.gguf", "me", "candles", tmp_path / "models").read_bytes()
        == b"GGUF newer"
        == (out.read_bytes())
    )


def test_a_name_that_leads_out_of_the_folder_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        lmstudio.place(run / "gone.gguf", "..", "a/b", tmp_path)
    assert len(error.value.problems) == 3
