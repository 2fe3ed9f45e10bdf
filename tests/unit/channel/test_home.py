"""Laws of a home's format: another one is refused in one sentence before anything of it is read or written."""

import json
from pathlib import Path

import pytest

from understudy.channel import home
from understudy.channel.ledger import Ledger, Row
from understudy.cli import main
from understudy.errors import ConfigError


def test_the_first_ledger_of_a_home_marks_its_format(tmp_path: Path) -> None:
    home.check(tmp_path)
    Ledger(tmp_path / "data" / "tea" / "ledger.sqlite").record(Row("a", "A", "a.txt", "1", "ok"))
    assert home.Home.model_validate_json((tmp_path / home.FILE).read_bytes()).format == home.FORMAT
    home.check(tmp_path)


def test_a_deployed_home_whose_disk_is_gone_is_not_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    there, gone = tmp_path / "there", tmp_path / "gone"
    (tmp_path / "state/understudy").mkdir(parents=True)
    (tmp_path / "state/understudy" / home.HOMES).write_text(json.dumps([str(there), str(gone)]))
    (there / home.DEPLOYED).parent.mkdir(parents=True)
    (there / home.DEPLOYED).write_text("{}")
    home.mark(there)
    with pytest.raises(ConfigError, match="is its disk plugged in"):
        home.mark(gone)
    assert (there / home.FILE).exists() and not gone.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "filled by Understudy 0.1.0, which this version cannot read: choose another --home"),
        ('{"format": 2}', "has format 2 and this version knows up to 1: install a newer Understudy"),
        ("{", "home.json cannot be read"),
    ],
)
def test_a_home_of_another_format_is_refused_and_stays_as_it_is(
    tmp_path: Path, content: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "data" / "tea" / "ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"an older one")
    if content:
        (tmp_path / home.FILE).write_text(content)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=words):
        home.check(tmp_path)
    for verb in (["status"], ["run", "--only", "dataset"], ["forget", "x", "--channel", "tea"]):
        assert main([*verb, "--home", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
