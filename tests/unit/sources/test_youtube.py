"""What a channel lists, which captions are taken, and how fast, through the real libraries."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from pydantic import ValidationError

from tests.fixtures.clock import FakeClock
from tests.fixtures.youtube_server import Track, Video, YouTube, serve
from understudy.errors import Blocked, Refused, SourceError, Transient
from understudy.readers.cues import Cue
from understudy.records import Entry
from understudy.sources.youtube import YoutubeSource
from understudy.sources.youtube_address import Place, addresses, place_of
from understudy.sources.youtube_pace import Enough, Pace
from understudy.sources.youtube_tracks import Track as Offered
from understudy.sources.youtube_tracks import best, clipped, ranked

UC = "UC" + "a" * 22


def source(url: str, channel: str = "@tea", **options: Any) -> YoutubeSource:
    quick = {"seconds_between_videos": 0, "seconds_between_pages": 0, "base_url": url, "channel": channel}
    return YoutubeSource(YoutubeSource.Options(**{**quick, **options}))


def videos(count: int, first: str = "v") -> list[Video]:
    return [Video(f"{first}{number:010d}", title=f"Talk {number}") for number in range(count)]


def talk(youtube: YouTube, video: Video, **options: Any) -> Any:
    youtube.add(video)
    entry = Entry(document_id=f"yt-{video.video_id}", title="?", locator=video.video_id, revision="1")
    return source(youtube.url, **options).fetch(entry)


def test_a_channel_lists_all_its_tabs_newest_first_a_page_per_thirty(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=videos(70), streams=videos(2, "s"), shorts=videos(3, "t"))
    entries = list(source(youtube.url).entries())
    assert [e.locator for e in entries] == [v.video_id for v in (*videos(70), *videos(2, "s"))]
    assert entries[0] == Entry(
        document_id="yt-v0000000000", title="Talk 0", locator="v0000000000", revision="v0000000000.1"
    )
    assert len(youtube.log) == 4
    assert len({entry.revision for entry in entries}) == 72


def test_shorts_come_when_asked_for(youtube: YouTube) -> None:
    youtube.channel("@tea", shorts=videos(3, "t"))
    assert [e.title for e in source(youtube.url, tabs=["shorts"]).entries()] == ["Talk 0", "Talk 1", "Talk 2"]


def test_a_listing_is_read_only_as_far_as_it_is_used(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=videos(95))
    assert len(list(islice(source(youtube.url).entries(), 30))) == 30
    assert len(youtube.log) == 1


def test_known_talks_end_the_listing_of_a_tab(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=videos(95), streams=videos(1, "s"))
    talks = source(youtube.url)
    talks.is_known = lambda document_id: document_id not in ("yt-v0000000000", "yt-v0000000003", "yt-s0000000000")
    listed = [entry.locator for entry in talks.entries()]
    assert len(listed) == 4 + 20 + 1 and listed[-1] == "s0000000000"
    assert len(youtube.log) == 2


def test_what_the_listing_refuses_costs_no_request(youtube: YouTube) -> None:
    shown = [Video(f"{badge:-<11}", badge=badge) for badge in ("members", "upcoming", "live")]
    youtube.channel("@tea", videos=[*shown, Video("open0000001")])
    talks = source(youtube.url, tabs=["videos"])
    early = [(x.early.status, x.early.retry_seconds) for x in talks.list_talks() if x.early]
    assert early == [("members_only", 30 * 86_400), ("not_yet", 86_400), ("not_yet", 86_400)]
    assert [entry.locator for entry in talks.entries()] == ["open0000001"]


def test_a_missing_tab_lists_nothing_and_a_channel_without_talks_is_an_error(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=videos(1))
    youtube.channel("@mute")
    assert len(list(source(youtube.url).entries())) == 1
    with pytest.raises(SourceError, match=r"@mute lists no talks under videos, streams \(source.tabs\)"):
        list(source(youtube.url, "@mute").entries())


def test_a_lost_page_is_never_the_end_of_the_list(youtube: YouTube) -> None:
    youtube.channel("@tea", fault="lost_page", videos=videos(70))
    with pytest.raises(Transient, match="Incomplete data"):
        list(source(youtube.url).entries())


@pytest.mark.parametrize("place", ["@nobody", f"https://www.youtube.com/channel/{UC}"])
def test_an_unknown_channel_is_said_in_a_sentence(youtube: YouTube, place: str) -> None:
    with pytest.raises(SourceError, match=r"YouTube has nothing at .*/videos \(404\); check source.channel"):
        list(source(youtube.url, place).entries())


@pytest.mark.parametrize(("name", "words"), [("PLprivate00000", "is private"), ("PLunknown00000", "does not exist")])
def test_a_closed_playlist_is_said_in_youtubes_words(youtube: YouTube, name: str, words: str) -> None:
    youtube.channel("PLprivate00000", fault="private", playlist=[])
    with pytest.raises(SourceError, match=words) as error:
        list(source(youtube.url, name).entries())
    assert not isinstance(error.value, Blocked)


@pytest.mark.parametrize(("fault", "kind"), [("429_page", Blocked), ("503_page", Transient)])
def test_a_refused_listing_is_a_block_or_worth_a_retry(youtube: YouTube, fault: str, kind: type[Exception]) -> None:
    youtube.channel("@tea", fault=fault, videos=videos(1))
    with pytest.raises(kind):
        list(source(youtube.url).entries())


def test_a_server_that_is_gone_is_worth_a_retry() -> None:
    with serve() as youtube:
        url = youtube.url
    with pytest.raises(Transient):
        list(source(url).entries())


def test_a_playlist_lists_its_videos_in_one_request(youtube: YouTube) -> None:
    youtube.channel("PLtalks0000000", playlist=videos(12))
    address = "https://www.youtube.com/playlist?list=PLtalks0000000"
    assert len(list(source(youtube.url, address).entries())) == 12
    assert len(youtube.log) == 1


def test_a_single_video_needs_no_listing(youtube: YouTube) -> None:
    youtube.add(Video("-_single-01", title="Why tea cools"))
    talks = source(youtube.url, "https://youtu.be/-_single-01?t=4")
    (entry,) = talks.entries()
    assert entry.document_id == "yt--_single-01" and not youtube.log
    assert talks.fetch(entry).title == "Why tea cools"
    assert len(youtube.log) == 3


ID = "dQ-w4w9_gXc"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (ID, Place("video", ID)),
        (f"https://www.youtube.com/watch?v={ID}&list=PL123", Place("video", ID)),
        (f"https://m.youtube.com/watch?app=desktop&v={ID}", Place("video", ID)),
        (f"youtube.com/shorts/{ID}", Place("video", ID)),
        (f"https://www.youtube.com/live/{ID}?si=x", Place("video", ID)),
        (f"https://www.youtube-nocookie.com/embed/{ID}", Place("video", ID)),
        (f"https://youtu.be/{ID}?t=4", Place("video", ID)),
        (f"https://www.youtube.com/v/{ID}", Place("video", ID)),
        ("@tea.lab-1", Place("channel", "@tea.lab-1")),
        ("@tee-küche", Place("channel", "@tee-küche")),
        ("https://www.youtube.com/@tea/streams", Place("channel", "@tea", "streams")),
        (f"https://www.youtube.com/channel/{UC}?x=1", Place("channel", f"channel/{UC}")),
        (UC, Place("channel", f"channel/{UC}")),
        ("www.youtube.com/c/TeaLab/", Place("channel", "c/TeaLab")),
        ("http://youtube.com/user/tea/about", Place("channel", "user/tea", "about")),
        ("https://www.youtube.com/playlist?list=PLabc_-123456789", Place("playlist", "PLabc_-123456789")),
        ("https://www.youtube.com/embed/videoseries?list=PLabc_-123456789", Place("playlist", "PLabc_-123456789")),
        ("PLabc_-123456789", Place("playlist", "PLabc_-123456789")),
        ("tea lab", None),
        ("https://example.org/@tea", None),
        ("https://www.youtube.com/feed/trending", None),
        ("", None),
    ],
)
def test_every_form_of_address_is_understood(text: str, place: Place | None) -> None:
    assert place_of(text) == place


def test_a_tab_in_the_address_is_the_only_one() -> None:
    assert addresses(Place("channel", "@a", "streams"), ["videos"]) == ["https://www.youtube.com/@a/streams"]
    assert addresses(Place("channel", "@a", "about"), ["videos"]) == ["https://www.youtube.com/@a/videos"]


def test_a_talk_arrives_whole_with_what_youtube_says_of_it(youtube: YouTube) -> None:
    result = talk(youtube, Video("talk0000001", tracks=[Track(mark="manual"), Track(generated=True)]))
    assert (result.how, result.language, result.title) == ("youtube-transcript-api, manual", "en", "Why tea cools")
    assert (result.published, result.duration_seconds, result.words) == ("2024-05-01", 240, 600)
    assert len(youtube.log) == 3


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        (["en-GB.", "en.", "en.asr"], "en."),
        (["en-GB.", "en.asr"], "en-GB."),
        (["de.", "en-US.asr", "en.asr"], "en.asr"),
        (["de.", "en-US.asr"], "en-US.asr"),
        (["de.", "EN-us."], "EN-us."),
        (["de.", "eng.asr", "live_chat."], None),
    ],
)
def test_manual_beats_generated_and_exact_beats_a_variety(codes: list[str], chosen: str | None) -> None:
    tracks = [Offered(code.split(".")[0], code.endswith("asr"), code) for code in codes]
    assert [track.handle for track in ranked(tracks, ["en"])][:1] == ([chosen] if chosen else [])


def test_the_preferred_language_beats_the_manual_track() -> None:
    tracks = [Offered("en", False, 1), Offered("de-AT", True, 2), Offered("de", True, 3)]
    assert [track.handle for track in ranked(tracks, ["de", "en"])] == [3, 2, 1]


def test_british_captions_serve_who_asks_for_english(youtube: YouTube) -> None:
    result = talk(youtube, Video("talk0000001", tracks=[Track("fr"), Track("en-GB")]))
    assert (result.language, result.how) == ("en-GB", "youtube-transcript-api, manual")


@pytest.mark.parametrize("words_per_minute", [20, 600])
def test_a_chat_that_poses_as_captions_gives_way_to_the_speech(youtube: YouTube, words_per_minute: int) -> None:
    tracks = [Track(words_per_minute=words_per_minute, mark="chat"), Track(generated=True, mark="speech")]
    result = talk(youtube, Video("talk0000001", tracks=tracks))
    assert result.how.endswith("generated") and result.text.startswith("speech")


def test_odd_captions_are_kept_when_nothing_is_better(youtube: YouTube) -> None:
    result = talk(youtube, Video("talk0000001", tracks=[Track(words_per_minute=40, mark="slow")]))
    assert result.how.endswith("manual") and result.words == 160


def test_a_translation_is_never_taken(youtube: YouTube) -> None:
    for fault, way in (("", "source.languages"), ("layout", "by yt-dlp: no captions in en")):
        with pytest.raises(Refused, match=way):
            talk(youtube, Video("talk0000001", fault=fault, tracks=[Track("de", generated=True)]), languages=["en"])
    assert youtube.asked("/api/timedtext") == 0


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        (["en.", "de.asr"], "de.asr"),  # English subtitles of a German talk
        (["en.", "de.", "de.asr"], "de."),
        (["ja."], "ja."),
        (["fr.", "en."], "en."),  # nothing shows what is spoken
        (["fr.", "de."], None),
    ],
)
def test_the_language_that_is_spoken_is_read_by_default(codes: list[str], chosen: str | None) -> None:
    tracks = [Offered(code.split(".")[0], code.endswith("asr"), code) for code in codes]
    fetched: list[str] = []

    def fetch(track: Offered) -> list[Cue]:
        fetched.append(track.handle)
        return [Cue(0, 60, ("word " * 120,))]

    if chosen is None:
        with pytest.raises(Refused, match="there are: fr"):
            best(tracks, ["original"], 60, fetch)
    else:
        best(tracks, ["original"], 60, fetch)
        assert fetched == [chosen]


def test_the_captions_of_a_dubbed_voice_are_never_taken() -> None:
    tracks = [Offered("en", True, "dub"), Offered("de", True, "voice")]
    with pytest.raises(Refused, match="no captions in en"):
        best(tracks, ["en"], 60, lambda track: [], original="de")
    assert best(tracks, ["original"], 60, lambda track: [Cue(0, 60, ("wort " * 99,))], original="de").code == "de"


def test_manual_captions_without_spaces_are_as_many_words_as_speech_has() -> None:
    line = "面团会发起来，是因为酵母吃糖并放出气体。"
    manual = [Cue(at * 5.0, at * 5 + 5.0, (line,)) for at in range(36)]
    generated = [Cue(at * 5.0, at * 5 + 5.0, ("面团会发",)) for at in range(36)]
    tracks = [Offered("zh-Hans", False, "m"), Offered("zh-Hans", True, "g")]
    assert not best(tracks, ["zh"], 180, lambda track: manual if track.handle == "m" else generated).generated


def test_the_default_language_makes_no_talk_of_an_older_home_stale() -> None:
    from understudy import registry

    new, old = ({"channel": "@tea"}, {"channel": "@tea", "languages": ["en"]})
    assert registry.identity("source", "youtube", new) == registry.identity("source", "youtube", old)


def test_captions_past_the_end_are_clipped(youtube: YouTube) -> None:
    assert clipped([Cue(0, 5, ("a",)), Cue(4, 9, ("b",)), Cue(6, 9, ("c",))], 6) == [
        Cue(0, 5, ("a",)),
        Cue(4, 6, ("b",)),
    ]
    assert talk(youtube, Video("talk0000001", fault="overlong")).words == 600


def test_videos_are_asked_for_about_every_eight_seconds() -> None:
    clock = FakeClock()
    pace = Pace(8, 50, seed=1, clock=clock)
    for _ in range(50):
        with pace.turn():
            clock.seconds += 3
    slept = clock.pauses
    assert len(slept) == 49 and all(4 <= seconds <= 12 for seconds in slept)
    assert 7 < sum(slept) / 49 < 9 and len(set(slept)) > 40
    assert not pace.ready()


def test_a_run_asks_for_no_more_videos_than_it_may(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=videos(3))
    talks = source(youtube.url, videos_per_run=2)
    first, second, third = talks.entries()
    assert talks.fetch(first).words == talks.fetch(second).words == 600
    assert not talks.pace.ready()
    requests = len(youtube.log)
    with pytest.raises(Enough, match="source.videos_per_run"):
        talks.fetch(third)
    assert len(youtube.log) == requests


def test_talks_fetched_from_several_threads_keep_their_own_facts(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=[Video(f"v{n:010d}", title=f"Talk {n}", seconds=60 + n) for n in range(9)])
    talks = source(youtube.url)
    entries = list(talks.entries())
    with ThreadPoolExecutor(3) as pool:
        result = list(pool.map(talks.fetch, entries))
    assert [(d.title, d.duration_seconds) for d in result] == [(e.title, 60 + n) for n, e in enumerate(entries)]


def test_every_request_goes_through_the_proxy(youtube: YouTube) -> None:
    youtube.channel("@tea", videos=videos(1))
    youtube.videos["v0000000000"].fault = "token"
    with serve() as proxy:
        proxy.channels, proxy.videos = youtube.channels, youtube.videos
        talks = source(youtube.url, proxy={"use": "generic", "url": proxy.url})
        (entry,) = talks.entries()
        assert talks.fetch(entry).how == "yt-dlp, generated"
        assert len(proxy.log) == 7 and not youtube.log


def test_a_proxy_keeps_its_secrets_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="proxy.url"):
        source("http://127.0.0.1:1", proxy={"use": "generic", "url": "http://user:secret@host:8080"})
    webshare = source("http://127.0.0.1:1", proxy={"use": "webshare"})
    assert webshare.problems() == [
        "source.proxy: the environment variable WEBSHARE_USER is not set",
        "source.proxy: the environment variable WEBSHARE_PASSWORD is not set",
    ]
    monkeypatch.setenv("WEBSHARE_USER", "someone")
    monkeypatch.setenv("WEBSHARE_PASSWORD", "secret")
    assert not webshare.problems()
    assert webshare._proxy().url == "http://someone-rotate:secret@p.webshare.io:80/"
    assert "secret" not in webshare.options.model_dump_json()


def test_what_is_no_channel_is_a_problem_before_anything_is_asked() -> None:
    (problem,) = source("http://127.0.0.1:1", "tea lab").problems()
    assert "'tea lab' is not a channel, playlist or video; write '@handle'" in problem


def test_importing_the_source_loads_neither_library() -> None:
    import subprocess
    import sys

    program = "import sys, understudy.sources.youtube\nprint({'yt_dlp', 'requests'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
