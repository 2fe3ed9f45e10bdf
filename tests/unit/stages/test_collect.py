"""A temporary cause never becomes a permanent mark, and a hopeless one is not asked twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.youtube_server import Track, Video, serve
from understudy.channel.ledger import Ledger, Row
from understudy.errors import Refused, SourceError, Transient
from understudy.readers import read
from understudy.records import Entry
from understudy.sources.documents import DocumentsSource
from understudy.sources.youtube import YoutubeSource
from understudy.stages import collect

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = Entry(document_id="a", title="A", locator="a", revision="r1")


def after(refusal: Refused, times: int) -> Row:
    row = None
    for _ in range(times):
        row = collect.refused(ENTRY, refusal, row, NOW)
    assert row
    return row


def test_a_wait_doubles_and_ends_after_the_last_attempt() -> None:
    later = Refused("gone for lunch", "http_error", 900)
    waits = [datetime.fromisoformat(after(later, n).next_try) - NOW for n in range(1, collect.MOST_ATTEMPTS)]
    assert waits == [timedelta(seconds=900 * 2**n) for n in range(5)]
    assert after(later, collect.MOST_ATTEMPTS).next_try is None


def test_waits_the_source_sets_itself_are_not_doubled() -> None:
    token = Refused("a token is wanted", "po_token", 3 * 86_400)
    assert [bool(after(token, n).next_try) for n in range(1, 5)] == [True, True, True, False]
    assert datetime.fromisoformat(after(token, 3).next_try or "") - NOW == timedelta(days=3)


def test_what_is_final_is_never_asked_again_but_new_content_is() -> None:
    row = after(Refused("empty"), 1)
    assert row.rests(NOW + timedelta(days=9999), "r1")
    assert not row.rests(NOW, "r2")


def test_what_may_come_later_rests_only_until_then() -> None:
    row = after(Refused("soon", "not_yet", 60), 1)
    assert row.rests(NOW, "r1") and not row.rests(NOW + timedelta(seconds=61), "r1")


def test_a_dead_network_is_asked_again_and_says_so() -> None:
    row = collect.unreachable(ENTRY, Transient("timed out"), None, NOW)
    assert (row.status, row.reason) == ("network", "timed out") and row.next_try


def test_blocks_rest_six_then_twelve_then_twenty_four_hours_until_an_answer(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    hours = [(collect.block(ledger, NOW) - NOW).total_seconds() / 3600 for _ in range(4)]
    assert hours == [6, 12, 24, 24]
    assert collect.rests_until(ledger, NOW) and not collect.rests_until(ledger, NOW + timedelta(days=2))
    collect.unblock(ledger)
    assert collect.rests_until(ledger, NOW) is None
    assert (collect.block(ledger, NOW) - NOW).total_seconds() / 3600 == 6


def test_a_clock_that_went_backwards_only_waits_longer() -> None:
    row = after(Refused("soon", "not_yet", 60), 1)
    assert row.rests(NOW - timedelta(days=400), "r1")


def test_the_same_content_twice_is_one_document() -> None:
    same = "0" * 64
    entries = [ENTRY.model_copy(update={"document_id": n, "locator": n, "revision": same}) for n in ("a", "b")]
    kept, doubles = collect.without_doubles(entries)
    assert [e.document_id for e in kept] == ["a"]
    assert [(r.document_id, r.status, r.reason) for r in doubles] == [("b", "duplicate", "same content as a")]


def test_what_a_complete_source_no_longer_lists_is_removed_and_what_was_forgotten_stays_so() -> None:
    known = [Row(name, name, name, "r", status) for name, status in (("a", "ok"), ("b", "ok"), ("c", "excluded"))]
    assert [(r.document_id, r.status) for r in collect.removed(known, ["a"])] == [("b", "removed")]


def test_a_talk_without_punctuation_is_told(tmp_path: Path) -> None:
    texts, warnings = (
        {"spoken": "a candle burns and we look at it " * 40, "written": "A candle burns. We look! " * 40},
        [],
    )
    for name, text in texts.items():
        file = tmp_path / f"{name}.txt"
        file.write_text(text)
        warnings.append(collect.here(ENTRY, read(file, ENTRY)).reason)
    assert warnings[0] is not None and warnings[0].startswith("hardly any punctuation") and warnings[1] is None


def run(source: Any, ledger: Ledger) -> dict[str, str]:
    """What a run does, without its tasks: every due talk fetched once. Returns the state of each talk."""
    for entry in collect.list_talks({"": source}, ledger, {}, NOW):
        ledger.record(collect.fetch(source, entry, ledger.get(entry.document_id), NOW)[1])
    return {row.document_id: row.status for row in ledger.rows()}


def test_what_was_refused_is_asked_again_when_the_settings_change_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "a.txt").write_text("Dough rises because yeast eats sugar.")
    ledger = Ledger(tmp_path / "data" / "x" / "ledger.sqlite")

    def source(words: int) -> DocumentsSource:
        return DocumentsSource(DocumentsSource.Options(path=tmp_path / "talks", min_words=words))

    assert run(source(50), ledger) == {"a.txt": "refused"}
    assert collect.list_talks({"": source(50)}, ledger, {}, NOW) == []
    assert run(source(5), ledger) == {"a.txt": "ok"}


def test_another_language_asks_again_for_talks_that_had_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data" / "x" / "ledger.sqlite")
    with serve() as youtube:
        quick = {"seconds_between_videos": 0, "seconds_between_pages": 0, "base_url": youtube.url}
        youtube.channel("@lehrer", videos=[Video("v0000000001", tracks=[Track("de", generated=True)])])
        youtube.channel("@other", videos=[Video("w0000000001")])

        def source(channel: str, *languages: str) -> YoutubeSource:
            return YoutubeSource(
                YoutubeSource.Options.model_validate(quick | {"channel": channel, "languages": languages})
            )

        assert run(source("@lehrer", "en"), ledger) == {"yt-v0000000001": "no_language"}
        asked = youtube.asked("/watch")
        assert run(source("@lehrer", "en"), ledger) == {"yt-v0000000001": "no_language"}
        assert youtube.asked("/watch") == asked
        assert run(source("@lehrer", "de"), ledger) == {"yt-v0000000001": "ok"}
        with pytest.raises(SourceError, match=r"holds the talks of channel @lehrer, .*--set name="):
            run(source("@other", "en"), ledger)


def test_a_folder_that_two_channels_filled_is_refused_with_what_separates_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data" / "videos" / "ledger.sqlite")
    with serve() as youtube:
        youtube.channel("@anna", videos=[Video(f"v000000000{n}") for n in range(4)])
        quick = {"seconds_between_videos": 0, "seconds_between_pages": 0, "base_url": youtube.url, "channel": "@anna"}
        ids = [f"yt-v000000000{n}" for n in range(4)] + ["yt-w0000000001", "yt-w0000000002"]
        ledger.record_new(Row(name, name, name.removeprefix("yt-"), f"{name[3:]}.1", "ok") for name in ids)
        source = YoutubeSource(YoutubeSource.Options.model_validate(quick | {"tabs": ["videos"]}))
        with pytest.raises(SourceError, match="forget --channel videos yt-w0000000001 yt-w0000000002"):
            run(source, ledger)
        for name in ids[4:]:
            ledger.forget(name)
        assert collect.list_talks({"": source}, ledger, {}, NOW) and ledger.note("source") == "channel @anna"
