"""A channel's folder is named after the channel, however its address is written, and no two share one."""

from pathlib import Path

import pytest

from understudy.channel.ledger import Ledger, Row
from understudy.cli import main
from understudy.runs.changes import _channel_folder
from understudy.sources.youtube_address import folder_name, identity

SITE = "https://www.youtube.com"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("@clara", "clara"),
        (f"{SITE}/@Clara/videos", "clara"),
        (f"{SITE}/@clara/streams?view=0", "clara"),
        (f"{SITE}/c/Clara/featured/", "clara"),
        (f"{SITE}/playlist?list=PLabcdefghijklmnop", "plabcdefghijklmnop"),
        ("dQ4tW9WgXcQ", "dq4tw9wgxcq"),
    ],
)
def test_tab_query_and_case_are_no_part_of_a_name(text: str, name: str) -> None:
    assert folder_name(text) == name


def test_names_without_latin_letters_are_names_of_their_own() -> None:
    handles = ["@日本語", "@英語", "@мария", "@марфа", "@müller", "@möller", "@clara"]
    names = [folder_name(handle) for handle in handles]
    assert len(set(names)) == len(names) and all(name.isascii() for name in names)
    assert identity(f"{SITE}/@%D0%BC%D0%B0%D1%80%D0%B8%D1%8F/videos") == identity("@Мария")


def test_a_folder_that_an_older_version_named_keeps_its_name(tmp_path: Path) -> None:
    assert _channel_folder(tmp_path, f"{SITE}/@clara/videos") == "clara"
    ledger = Ledger(tmp_path / "data" / "videos" / "ledger.sqlite")
    ledger.record(Row("yt-v0000000001", "T", "v", "v.1", "ok"))
    assert _channel_folder(tmp_path, f"{SITE}/@clara/videos") == "videos"
    ledger.set_note("source", "channel @doris")
    assert _channel_folder(tmp_path, f"{SITE}/@clara/videos") == "clara"
    assert _channel_folder(tmp_path, f"{SITE}/@doris/videos") == "videos"


def test_two_channels_at_once_are_two_sources_of_one_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--home", str(tmp_path), "--channel", "@clara", "--channel", "doris"]) == 2
    shown = capsys.readouterr().err
    assert "permission: state your right" in shown and "source.channel: 'doris' is not a channel" in shown
    assert not (tmp_path / "data").exists()


def test_every_talk_of_a_state_is_retried_and_every_reason_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path / "data" / "clara" / "ledger.sqlite")
    ledger.record_new(Row(f"t{n}", "T", "l", "r", "refused", f"why {n}") for n in range(8))
    ledger.record_new([Row("p", "T", "l", "r", "private", "Private video")])
    assert main(["status", "--home", str(tmp_path)]) == 0
    assert "and 3 more reasons" in capsys.readouterr().out
    assert main(["retry", "--status", "refused", "--channel", "clara", "--home", str(tmp_path)]) == 0
    assert ledger.counts() == {"pending": 8, "private": 1}
    assert main(["retry", "--status", "odd", "--channel", "clara", "--home", str(tmp_path)]) == 2
    assert "there are: pending, private" in capsys.readouterr().err
