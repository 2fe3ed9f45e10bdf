"""Caption files brought in by hand are the words of their talks, and each one left out is named."""

from pathlib import Path

import pytest

from understudy.__main__ import main
from understudy.channel import imported
from understudy.channel.ledger import Ledger, Row

CUES = "WEBVTT\n\n" + "\n\n".join(
    f"00:00:{at:02}.000 --> 00:00:{at + 1:02}.000\nthe kettle sings line {at}" for at in range(0, 50, 2)
)


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    folder = tmp_path / "captions"
    folder.mkdir()
    (folder / "abcdefghij1.en.vtt").write_text(CUES)
    (folder / "Why tea cools [abc-_fghij2].en.vtt").write_text(CUES)
    (folder / "abcdefghij3.srt").write_text("no cues in here")
    (folder / "notes.vtt").write_text(CUES)
    (folder / "readme.txt").write_text("hello")
    return folder


def test_files_are_brought_in_by_video_id_and_the_others_named(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(tmp_path), "import", str(captions), "--channel", "tea"]) == 0
    output = capsys.readouterr().out
    assert "2 of 5 files imported" in output
    assert "notes.vtt: no video id in its name" in output
    assert "readme.txt: no caption file" in output
    assert "abcdefghij3.srt: this .srt file has no caption with a time" in output
    result = imported.files(tmp_path / "data" / "tea")
    assert {name: file.name for name, file in result.items()} == {
        "yt-abc-_fghij2": "yt-abc-_fghij2.en.vtt",
        "yt-abcdefghij1": "yt-abcdefghij1.en.vtt",
    }
    rows = {row.document_id: row for row in Ledger(tmp_path / "data/tea/ledger.sqlite").rows()}
    assert rows["yt-abc-_fghij2"].title == "Why tea cools"
    assert {row.status for row in rows.values()} == {"pending"}


def test_an_import_merges_with_what_the_ledger_knows(captions: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data/tea/ledger.sqlite")
    ledger.record_new([
        Row("yt-abcdefghij1", "Known title", "abcdefghij1", "abcdefghij1.1", "no_captions", "none", 3, None),
        Row("yt-zzzzzzzzzzz", "Other", "zzzzzzzzzzz", "zzzzzzzzzzz.1", "ok"),
    ])  # fmt: skip
    assert main(["--home", str(tmp_path), "import", str(captions), "--channel", "tea"]) == 0
    row = ledger.get("yt-abcdefghij1")
    assert row and (row.title, row.status, row.attempts) == ("Known title", "pending", 0)
    assert len(row.revision) == 64
    assert ledger.counts() == {"ok": 1, "pending": 2}


def test_importing_the_same_again_changes_nothing(captions: Path, tmp_path: Path) -> None:
    words = ["--home", str(tmp_path), "import", str(captions), "--channel", "tea"]
    assert main(words) == 0
    ledger = Ledger(tmp_path / "data/tea/ledger.sqlite")
    row = ledger.get("yt-abcdefghij1")
    assert row
    ledger.record(row._replace(status="ok"))
    assert main(words) == 0
    assert ledger.counts() == {"ok": 1, "pending": 1}


def test_what_is_forgotten_is_not_read_again(captions: Path, tmp_path: Path) -> None:
    assert main(["--home", str(tmp_path), "import", str(captions), "--channel", "tea"]) == 0
    assert main(["--home", str(tmp_path), "forget", "yt-abcdefghij1", "--channel", "tea"]) == 0
    assert list(imported.files(tmp_path / "data/tea")) == ["yt-abc-_fghij2"]


@pytest.mark.parametrize("words", [["nowhere", "--channel", "tea"], [".", "--channel", "../tea"]])
def test_an_import_that_cannot_be_says_why(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(tmp_path), "import", *words]) == 2
    assert "nowhere" in (output := capsys.readouterr().err) or "not a channel name" in output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("names", "words", "taken"),
    [
        (["es-419"], [], "es-419"),
        (["en-j3PyPqV-e1s"], [], "en-j3PyPqV-e1s"),
        (["de", "en"], ["--language", "en"], "en"),
        (["de", "en"], ["--language", "fr", "--language", "de"], "de"),
        (["de", "en", "de-orig"], [], "de"),
        (["en", "de-orig"], [], "de-orig"),
        (["en", "en-US"], [], "en-US"),
        (["pt-BR", "en"], ["--language", "pt"], "pt-BR"),
    ],
)
def test_of_several_files_for_a_video_the_spoken_or_the_wanted_one_is_taken(
    names: list[str], words: list[str], taken: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / f"Talk [abcdefghij1].{name}.vtt").write_text(CUES)
    assert main(["--home", str(tmp_path), "import", str(tmp_path), "--channel", "tea", *words]) == 0
    assert [file.name for file in imported.files(tmp_path / "data/tea").values()] == [f"yt-abcdefghij1.{taken}.vtt"]


def test_where_nothing_says_which_language_is_spoken_a_person_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("de", "en"):
        (tmp_path / f"Talk [abcdefghij1].{name}.vtt").write_text(CUES)
    assert main(["--home", str(tmp_path), "import", str(tmp_path), "--channel", "tea"]) == 1
    assert "files in de and en for video abcdefghij1; say which is spoken: --language de" in capsys.readouterr().out


def test_where_the_best_file_of_a_video_cannot_be_read_the_next_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "Talk [abcdefghij1].en-GB.vtt").write_text("WEBVTT")
    (tmp_path / "Talk [abcdefghij1].en.vtt").write_text(CUES)
    assert main(["--home", str(tmp_path), "import", str(tmp_path), "--channel", "tea"]) == 0
    assert [file.name for file in imported.files(tmp_path / "data/tea").values()] == ["yt-abcdefghij1.en.vtt"]


def test_a_dry_run_shows_where_each_file_would_go_and_writes_nothing(
    captions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(tmp_path), "import", str(captions), "--channel", "tea", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert f"abcdefghij1.en.vtt > {tmp_path / 'data/tea/imported/yt-abcdefghij1.en.vtt'}" in output
    assert "2 of 5 files would be imported; nothing was copied" in output
    assert not (tmp_path / "data").exists()
