"""A podcast's feed, its transcripts in every form, and its sound, from a server on this machine."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.feed_server import TALK, Feeds, episode, feed, serve
from tests.unit.sources.test_sound import MODEL, SAID, needs_whisper, word_errors
from understudy.errors import Refused, SourceError, Transient
from understudy.sources.podcast import PodcastSource, feed_name
from understudy.sources.web import Web
from understudy.text.words import words

SENTENCES = [f"{sentence.strip('.')}." for sentence in TALK.split(". ")]
SRT = "\n\n".join(
    f"{at + 1}\n00:00:{at * 9:02},000 --> 00:00:{at * 9 + 8:02},000\n{sentence}"
    for at, sentence in enumerate(SENTENCES)
)
SEGMENTS = [
    {"startTime": at * 9, "endTime": at * 9 + 8, "speaker": "Ann", "body": sentence}
    for at, sentence in enumerate(SENTENCES)
]


@pytest.fixture
def feeds() -> Iterator[Feeds]:
    with serve() as running:
        yield running


def source(feeds: Feeds, path: str = "/feed.xml", **options: Any) -> PodcastSource:
    quick = {"feed": feeds.url + path, "seconds_between_episodes": 0}
    return PodcastSource(PodcastSource.Options.model_validate({**quick, **options}))


def only(feeds: Feeds, *transcripts: tuple[str, str], **options: Any) -> Any:
    feeds.add("/feed.xml", feed(episode("Candles", transcripts=transcripts)))
    talks = source(feeds, **options)
    return talks.fetch(next(talks.entries()))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/vtt", "WEBVTT\n\n" + SRT.replace(",000", ".000")),
        ("application/x-subrip", SRT),
        ("application/srt; charset=utf-8", SRT),
        ("application/json", json.dumps({"version": "1.0.0", "segments": SEGMENTS})),
        ("text/html", f"<html><body><p>{TALK}</p></body></html>"),
        ("text/plain", TALK),
    ],
)
def test_a_transcript_is_read_in_every_form(feeds: Feeds, kind: str, body: str) -> None:
    document = only(feeds, (feeds.add("/transcript", body), kind))
    assert words(document.text) == words(TALK)
    assert document.title == "Candles" and document.published == "2026-09-01"
    assert document.how.startswith("podcast, ")
    if kind in ("text/vtt", "application/json"):
        assert document.paragraphs[0].start_seconds == 0


def test_a_transcript_with_times_is_preferred_and_the_next_one_taken_where_it_is_gone(feeds: Feeds) -> None:
    plain, captions = (feeds.add("/t.txt", TALK), "text/plain"), (feeds.add("/t.srt", SRT), "application/x-subrip")
    assert only(feeds, plain, captions).how == "podcast, captions .srt"
    feeds.files.pop("/t.srt")
    assert "captions" not in only(feeds, plain, captions).how
    feeds.files.pop("/t.txt")
    with pytest.raises(Refused, match=r"there is nothing at .*/t\.srt \(404\).*nothing at .*/t\.txt") as refused:
        only(feeds, plain, captions)
    assert refused.value.status == "no_captions" and refused.value.retry_seconds


def test_who_speaks_is_known_from_a_transcript(feeds: Feeds) -> None:
    talk = [*SEGMENTS, {"startTime": 60, "endTime": 61, "speaker": "Bob", "body": "And why is that?"}]
    url = feeds.add("/t.json", json.dumps({"segments": talk}))
    document = only(feeds, (url, "application/json"), speaker="Ann", min_words=5)
    assert document.speaker == "Ann" and document.paragraphs[-1].speaker == "Bob"


def test_a_feed_as_it_is_written(feeds: Feeds) -> None:
    relative = episode("A & B", "one", (("t.txt", "text/plain"),), more="<itunes:duration>1:02:03</itunes:duration>")
    heard = episode("Fish & chips", "two", sound="https://example.org/two.mp3")
    bare = feed(relative, heard, relative, episode("Three")).replace("Fish &amp; chips", "Fish & chips&nbsp;!")
    feeds.add("/shows/feed.xml", "\n" + bare)
    feeds.add("/shows/t.txt", TALK)
    talks = source(feeds, "/shows/feed.xml")
    (entry, none), (other, refusal), (_, silent) = talks.list_talks()
    assert str(silent) == "the feed has neither a transcript nor sound of it"
    assert (entry.title, entry.duration_seconds, none) == ("A & B", 3723, None)
    assert other.title == "Fish & chips !" and refusal and refusal.status == "no_captions"
    assert "pip install 'understudy[sound]'" in str(refusal)
    assert words(talks.fetch(entry).text) == words(TALK)
    assert talks.seconds_of_sound(entry) is None
    again = source(feeds, "/shows/feed.xml")  # as on another machine, which never listed it
    assert again.fetch(entry).text == talks.fetch(entry).text


def test_pages_of_a_feed_are_followed_and_never_in_a_circle(feeds: Feeds) -> None:
    link = '<atom:link rel="next" href="{}"/>'
    feeds.add("/feed.xml", feed(episode("1"), head=link.format("feed2.xml")))
    feeds.add("/feed2.xml", feed(episode("2"), head=link.format("feed.xml")))
    assert [entry.title for entry, _ in source(feeds).list_talks()] == ["1", "2"]


def test_what_is_no_feed_is_said_and_redirects_end(feeds: Feeds) -> None:
    def problem(body: str, error: type[Exception] = SourceError, status: int = 200) -> str:
        feeds.add("/feed.xml", body, status=status)
        with pytest.raises(error) as raised:
            list(source(feeds).list_talks())
        return str(raised.value)

    assert "its root is <html>" in problem("<html><body>Our show</body></html>")
    assert "not well-formed XML" in problem("<rss><channel>")
    assert "declares its own entities" in problem('<!DOCTYPE r [<!ENTITY a "b">]><rss>&a;</rss>')
    assert "lists no episodes" in problem(feed())
    assert "there is nothing at" in problem("", status=404)
    assert "answers 503" in problem("", Transient, status=503)
    feeds.redirects = {"/feed.xml": "/other.xml", "/other.xml": "/feed.xml"}
    with pytest.raises(SourceError, match="redirects more than 10 times"):
        list(source(feeds).list_talks())


def test_a_feed_in_a_file_is_read_and_one_that_is_not_there_is_said(tmp_path: Path, feeds: Feeds) -> None:
    url = feeds.add("/t.txt", TALK)
    (tmp_path / "tea.xml").write_text(feed(episode("Candles", transcripts=((url, "text/plain"),))))
    talks = source(feeds, feed=str(tmp_path / "tea.xml"))
    assert talks.problems() == [] and words(talks.fetch(next(talks.entries())).text) == words(TALK)
    assert source(feeds, feed="example.org/feed").problems()[0].startswith("source.feed: 'example.org/feed' is neither")


def test_a_trailer_is_refused(feeds: Feeds) -> None:
    with pytest.raises(Refused, match=r"only 3 words; an episode has at least 50 \(source\.min_words\)"):
        only(feeds, (feeds.add("/t.txt", "Soon on air."), "text/plain"))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://feeds.example.org/tea/feed.xml", "example-org-tea"),
        ("https://www.example.org/rss", "example-org"),
        ("shows/Tea Time.xml", "tea-time"),
    ],
)
def test_a_home_is_named_after_its_feed(address: str, name: str) -> None:
    assert feed_name(address) == name


def test_a_download_that_was_whole_when_the_run_was_killed_is_begun_again(tmp_path: Path, feeds: Feeds) -> None:
    url, file = feeds.add("/a.mp3", b"x" * 1000), tmp_path / "a.mp3"
    (tmp_path / "a.mp3.part").write_bytes(b"x" * 1000)
    with pytest.raises(Transient, match="from its beginning"):
        Web().download(url, file, lambda done, total, note="": None)
    Web().download(url, file, lambda done, total, note="": None)
    assert file.read_bytes() == b"x" * 1000 and list(tmp_path.iterdir()) == [file]


@needs_whisper
def test_sound_is_written_down_once_and_its_download_goes_on_after_a_cut(tmp_path: Path, feeds: Feeds) -> None:
    subprocess.run(["espeak-ng", "-s", "130", "-w", tmp_path / "candle.wav", SAID], check=True)
    url = feeds.add("/candle.wav", (tmp_path / "candle.wav").read_bytes(), "audio/wav")
    feeds.add("/feed.xml", feed(episode("Candles", sound=url)))
    talks = source(feeds, transcribe={"use": "faster_whisper", "model": str(MODEL)})
    talks.sound_folder = tmp_path / "sound"
    entry = next(talks.entries())
    feeds.cut_after = 300_000
    with pytest.raises(Transient):
        talks.fetch(entry)
    feeds.cut_after = None
    document = talks.fetch(entry)
    assert word_errors(words(SAID), words(document.text)) <= 0.15
    assert document.how.startswith("podcast, transcribed by model") and document.published == "2026-09-01"
    assert feeds.log[-1] == ("/candle.wav", "bytes=262144-")
    assert [file.suffix for file in (tmp_path / "sound").iterdir()] == [".jsonl"]  # the sound itself is gone
