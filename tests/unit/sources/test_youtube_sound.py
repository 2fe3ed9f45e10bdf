"""Videos without captions, through the real yt-dlp and Whisper; and cookies of one's own, which nothing keeps."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.youtube_server import Video, YouTube
from tests.unit.sources.test_sound import MODEL, SAID, needs_whisper, word_errors
from understudy.errors import Refused
from understudy.records import Entry
from understudy.sources.youtube import YoutubeSource
from understudy.text.words import words

COOKIES = "# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t4102444800\tSID\tsecret-of-mine\n"
ENTRY = Entry(document_id="yt-candle00001", title="?", locator="candle00001", revision="candle00001.1")


def source(youtube: YouTube, **options: Any) -> YoutubeSource:
    quick = {"seconds_between_videos": 0, "seconds_between_pages": 0, "base_url": youtube.url, "channel": "@tea"}
    return YoutubeSource(YoutubeSource.Options.model_validate({**quick, **options}))


@needs_whisper
def test_a_video_without_captions_is_written_down_from_its_sound(youtube: YouTube, tmp_path: Path) -> None:
    subprocess.run(["espeak-ng", "-s", "130", "-w", tmp_path / "candle.wav", SAID], check=True)
    youtube.add(Video("candle00001", "Candles", tracks=[], sound=(tmp_path / "candle.wav").read_bytes()))
    with pytest.raises(Refused) as refused:
        source(youtube).fetch(ENTRY)
    assert refused.value.status == "no_captions"
    talks = source(youtube, transcribe={"use": "faster_whisper", "model": str(MODEL)})
    talks.sound_folder = tmp_path / "sound"
    document = talks.fetch(ENTRY)
    assert word_errors(words(SAID), words(document.text)) <= 0.15
    assert (document.title, document.published, document.language) == ("Candles", "2024-05-01", "en")
    assert document.how.startswith("transcribed by model (faster-whisper")
    assert [file.suffix for file in (tmp_path / "sound").iterdir()] == [".jsonl"]


@needs_whisper
def test_a_video_whose_sound_is_not_to_be_had_says_both(youtube: YouTube, tmp_path: Path) -> None:
    youtube.add(Video("candle00001", "Candles", tracks=[]))
    talks = source(youtube, transcribe={"use": "faster_whisper", "model": str(MODEL)})
    talks.sound_folder = tmp_path
    with pytest.raises(Refused, match="; its sound: ") as refused:
        talks.fetch(ENTRY)
    assert refused.value.status == "no_captions" and refused.value.retry_seconds


def test_cookies_are_sent_and_neither_changed_nor_shown(youtube: YouTube, tmp_path: Path) -> None:
    youtube.add(Video("candle00001", "Candles"))
    file = tmp_path / "cookies.txt"
    file.write_text(COOKIES)
    talks = source(youtube, cookies=str(file))
    assert talks.problems() == []
    assert talks.fetch(ENTRY).title == "Candles"
    assert any("SID=secret-of-mine" in sent for sent in youtube.cookies)
    client = talks._client()
    with client:
        assert [cookie.value for cookie in client.cookiejar] == ["secret-of-mine"]
    assert file.read_text() == COOKIES
    assert "secret" not in repr(talks.options) + talks.options.model_dump_json()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("SID=secret-of-mine", "is no cookies.txt in Netscape's format"),
        (COOKIES.replace("youtube", "example"), "has no cookie of youtube.com that is still valid"),
        (COOKIES.replace("4102444800", "1"), "has no cookie of youtube.com that is still valid"),
    ],
)
def test_cookies_that_cannot_be_used_are_said(
    youtube: YouTube, tmp_path: Path, content: str | None, problem: str
) -> None:
    file = tmp_path / "cookies.txt"
    if content is not None:
        file.write_text(content)
    [said] = source(youtube, cookies=str(file)).problems()
    assert problem in said and "secret" not in said and said.startswith("source.cookies: ")


def test_a_token_of_ones_own_comes_from_the_environment(youtube: YouTube, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = source(youtube, po_token_env="MY_TOKEN")
    assert talks.problems() == ["source.po_token_env: the environment variable MY_TOKEN is not set"]
    monkeypatch.setenv("MY_TOKEN", "web.gvs+abc")
    assert talks.problems() == []
    assert talks._client().params["extractor_args"]["youtube"]["po_token"] == ["web.gvs+abc"]
