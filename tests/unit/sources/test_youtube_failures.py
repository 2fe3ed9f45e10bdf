"""Every way a video can fail, through the real libraries: what the ledger is told, and how often YouTube was asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fixtures.youtube_server import Track, Video, YouTube
from understudy.errors import Blocked, Refused, SourceError, Transient
from understudy.records import Entry
from understudy.sources.youtube import YoutubeSource

HOUR, DAY = 3_600, 86_400
ID = "-talk_00001"


def source(youtube: YouTube, **options: Any) -> YoutubeSource:
    quick: dict[str, Any] = {
        "seconds_between_videos": 0,
        "seconds_between_pages": 0,
        "base_url": youtube.url,
        "channel": ID,
        "languages": ["en"],
    }
    return YoutubeSource(YoutubeSource.Options(**{**quick, **options}))


def entry(video_id: str = ID) -> Entry:
    return Entry(document_id=f"yt-{video_id}", title="?", locator=video_id, revision="1")


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


REFUSED = [  # fault, changes to the video, status, retry_seconds, requests
    ("", {"tracks": []}, "no_captions", 30 * DAY, 2),
    ("", {"tracks": [], "published": None}, "no_captions", 30 * DAY, 2),
    ("", {"tracks": [], "published": hours_ago(1)}, "no_captions", 6 * HOUR, 2),
    ("", {"tracks": [], "published": hours_ago(7)}, "no_captions", 24 * HOUR, 2),
    ("", {"tracks": [], "published": hours_ago(71)}, "no_captions", 72 * HOUR, 2),
    ("", {"tracks": [], "published": hours_ago(73)}, "no_captions", 30 * DAY, 2),
    ("", {"tracks": [Track("de"), Track("fr", generated=True)]}, "no_language", None, 2),
    ("private", {}, "private", 30 * DAY, 2),
    ("members", {}, "members_only", 30 * DAY, 2),
    ("age_old", {}, "age_restricted", None, 2),
    ("age_new", {}, "age_restricted", None, 2),
    ("removed", {}, "unavailable", None, 2),
    ("unknown", {}, "unavailable", None, 2),
    ("upcoming", {}, "not_yet", DAY, 2),
    ("premiere", {}, "not_yet", DAY, 2),
    ("live", {}, "not_yet", DAY, 2),
    ("live", {"tracks": []}, "not_yet", DAY, 2),
    ("strange", {}, "unplayable", 7 * DAY, 2),
    ("token_everywhere", {}, "po_token", 3 * DAY, 4),
    ("empty_everywhere", {}, "empty_body", HOUR, 9),
    ("no_cues_everywhere", {}, "empty_body", HOUR, 9),
    ("404_captions", {}, "http_error", 15 * 60, 3),
    ("no_json", {}, "layout_changed", DAY, 4),
]


@pytest.mark.parametrize(("fault", "changes", "status", "retry_seconds", "requests"), REFUSED)
def test_a_video_without_words_is_refused_with_its_status(
    youtube: YouTube, fault: str, changes: dict[str, Any], status: str, retry_seconds: int | None, requests: int
) -> None:
    youtube.add(Video(ID, fault=fault, **changes))
    with pytest.raises(Refused) as refused:
        source(youtube).fetch(entry())
    assert (refused.value.status, refused.value.retry_seconds) == (status, retry_seconds)
    assert len(youtube.log) == requests
    assert "loopback-key" not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        ("429_watch", 1),
        ("429_player", 2),
        ("429_captions", 3),
        ("recaptcha", 1),
        ("bot_curly", 2),
        ("bot_plain", 2),
        ("rate_limit", 2),
        ("403_captions", 3),
        ("token_then_bot", 4),
    ],
)
def test_a_block_stops_the_run_and_nothing_is_asked_after_it(youtube: YouTube, fault: str, requests: int) -> None:
    youtube.add(Video(ID, fault=fault), Video("another0001"))
    talks = source(youtube)
    for talk in (entry(), entry("another0001")):
        with pytest.raises(Blocked, match="YouTube refuses this machine for now"):
            talks.fetch(talk)
    assert len(youtube.log) == requests


@pytest.mark.parametrize(
    ("fault", "status", "retry_seconds", "requests"),
    [
        ("503_watch", "http_error", 15 * 60, 1),
        ("503_player", "http_error", 15 * 60, 2),
        ("503_captions", "http_error", 15 * 60, 3),
        ("dropped", "network", 5 * 60, 1),
    ],
)
def test_what_may_pass_by_itself_is_worth_a_retry(
    youtube: YouTube, fault: str, status: str, retry_seconds: int, requests: int
) -> None:
    youtube.add(Video(ID, fault=fault))
    with pytest.raises(Transient) as transient:
        source(youtube).fetch(entry())
    assert (transient.value.status, transient.value.retry_seconds) == (status, retry_seconds)
    assert len(youtube.log) == requests
    assert "loopback-key" not in str(transient.value)


@pytest.mark.parametrize(
    ("fault", "how", "requests"),
    [
        ("consent", "youtube-transcript-api, generated", 4),
        ("empty_once", "youtube-transcript-api, generated", 6),
        ("token", "yt-dlp, generated", 5),
        ("empty", "yt-dlp, generated", 9),
        ("no_cues", "yt-dlp, generated", 9),
        ("layout", "yt-dlp, generated", 5),
        ("consent_for_ever", "yt-dlp, generated", 5),
    ],
)
def test_a_second_way_leads_to_the_same_words(youtube: YouTube, fault: str, how: str, requests: int) -> None:
    youtube.add(Video(ID, fault=fault), Video("healthy0001"))
    talks = source(youtube)
    result = talks.fetch(entry())
    assert (result.how, len(youtube.log)) == (how, requests)
    assert result.text == talks.fetch(entry("healthy0001")).text
    assert (result.title, result.published, result.duration_seconds) == ("Why tea cools", "2024-05-01", 240)


def test_without_the_second_way_a_token_is_a_refusal(youtube: YouTube) -> None:
    youtube.add(Video(ID, fault="token"))
    with pytest.raises(Refused, match="PO Token"):
        source(youtube, second_way=False).fetch(entry())
    assert len(youtube.log) == 2


def test_youtubes_own_words_stand_in_the_reason(youtube: YouTube) -> None:
    youtube.add(Video(ID, fault="strange"), Video("german00001", tracks=[Track("de"), Track("fr", generated=True)]))
    with pytest.raises(Refused, match=r"^The moon is in the way$"):
        source(youtube).fetch(entry())
    with pytest.raises(Refused, match=r"no captions in en .*there are: de \(manual\), fr \(generated\)"):
        source(youtube).fetch(entry("german00001"))


def test_a_rotating_proxy_that_never_gets_through_is_a_block(youtube: YouTube) -> None:
    from understudy.sources.youtube_transcripts import Adapter, Library

    youtube.add(Video(ID, fault="429_watch"))
    library = Library(youtube.url, None)
    library.session.mount("https://", Adapter(youtube.url, retries=3))
    from understudy.sources.youtube_tracks import Facts

    with pytest.raises(Blocked, match="RetryError"):
        library.words(ID, ["en"], Facts())
    assert len(youtube.log) == 4


def test_a_dead_connection_ends_after_the_timeout(youtube: YouTube) -> None:
    from understudy.sources.youtube_tracks import Facts
    from understudy.sources.youtube_transcripts import Adapter, Library

    youtube.add(Video(ID, fault="silent"))
    library = Library(youtube.url, None)
    assert library.session.get_adapter("https://www.youtube.com/watch").timeout == (5, 20)
    library.session.mount("https://", Adapter(youtube.url, timeout=(0.2, 0.2)))
    with pytest.raises(Transient, match="ReadTimeout"):
        library.words(ID, ["en"], Facts())


def test_nobody_but_the_base_url_is_ever_asked(youtube: YouTube) -> None:
    from understudy.sources.youtube_listing import Client
    from understudy.sources.youtube_transcripts import Library

    with pytest.raises(SourceError, match="no request is sent to https://consent.youtube.com"):
        Library(youtube.url, None).session.get("https://consent.youtube.com/s")
    with Client(youtube.url, None, 0) as client, pytest.raises(SourceError, match="no request is sent to example.org"):
        client.urlopen("https://example.org/")
    assert not youtube.log
