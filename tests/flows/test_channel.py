"""A channel on the loopback YouTube, through the real libraries and the real flow: fetched once, kept in step."""

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.youtube_server import Track, Video, YouTube
from tests.flows.conftest import ROOT
from understudy.__main__ import main
from understudy.config import load
from understudy.graph import chain
from understudy.records import Entry
from understudy.sources.documents import DocumentsSource
from understudy.workspace import Workspace

LINES = [
    "Why does a kettle sing before it boils?",
    "The bottom of the kettle is hot first, and small bubbles form there.",
    "They rise into colder water and collapse, and each collapse is a little click.",
    "Thousands of clicks a second are a song.",
    "When all the water is hot the bubbles reach the top, and the singing stops.",
] * 3
pytestmark = pytest.mark.usefixtures("prefect_server")


def talks() -> list[Video]:
    """The sample talks as videos, newest first."""
    source = DocumentsSource(DocumentsSource.Options(path=ROOT / "deployments" / "sample_channel"))
    documents = [source.fetch(entry) for entry, _ in source.list_talks()]
    return [
        Video(f"talk{at:07}", document.title, seconds=330, tracks=[Track(mark=" ".join(document.text.split()))])
        for at, document in enumerate(documents)
    ]


def make_workspace(youtube: YouTube, home: Path, **source: Any) -> Workspace:
    changes = {f"source.{key}": value for key, value in source.items()} | {
        "source.base_url": youtube.url, "source.channel": "@bench", "source.seconds_between_videos": 0,
        "source.seconds_between_pages": 0, "source.tabs": ["videos"], "permission": "owned", "name": "bench",
        "teacher": {"use": "extractive"},
    }  # fmt: skip
    return Workspace(home=home, config=load(ROOT / "deployments/presets/channel.yaml", changes))


def run(workspace: Workspace) -> dict[str, int]:
    """Build the dataset; returns talks per status."""
    from understudy.flows.pipeline import pipeline

    pipeline(config=workspace.config, home=workspace.home, only="dataset")
    return workspace.ledger.counts()


def requests_of(youtube: YouTube) -> tuple[int, int]:
    """Listing and other requests since the last call."""
    listings = sum("/@" in path or "/browse" in path for _, path in youtube.log)
    others = len(youtube.log) - listings
    youtube.log.clear()
    return listings, others


def test_a_channel_is_fetched_once_and_then_only_what_is_new(youtube: YouTube, tmp_path: Path) -> None:
    videos = talks()[:6]
    videos[2].fault = "private"
    videos[4].badge = "upcoming"
    channel = youtube.channel("@bench", videos=videos)
    youtube.add(*videos)
    workspace = make_workspace(youtube, tmp_path)
    assert run(workspace) == {"not_yet": 1, "ok": 4, "private": 1}
    assert requests_of(youtube) == (1, 4 * 3 + 2)
    assert run(workspace) == {"not_yet": 1, "ok": 4, "private": 1}
    assert requests_of(youtube) == (1, 0)
    new = talks()[6]
    youtube.add(new)
    channel.tabs["videos"].insert(0, new)
    assert run(workspace) == {"not_yet": 1, "ok": 5, "private": 1}
    assert requests_of(youtube) == (1, 3)
    row = workspace.ledger.get("yt-talk0000002")
    assert row and "rivate" in (row.reason or "") and row.next_try
    entry = Entry(document_id=f"yt-{new.video_id}", title="", locator=new.video_id, revision=f"{new.video_id}.1")
    assert set(chain(workspace, entry)) == {"document", "questions", "answers"}


def test_a_block_rests_the_channel_and_loses_nothing(youtube: YouTube, tmp_path: Path) -> None:
    videos = talks()[:6]
    youtube.channel("@bench", videos=videos)
    youtube.add(*videos)
    workspace = make_workspace(youtube, tmp_path)
    workspace = workspace.model_copy(
        update={
            "config": workspace.config.model_copy(
                update={"runner": workspace.config.runner.model_copy(update={"workers": 1})}
            )
        }
    )
    videos[4].fault = "429_watch"
    assert run(workspace) == {"ok": 4, "pending": 2}
    assert workspace.ledger.note("blocked_until") and workspace.ledger.note("blocked_hours") == "6"
    requests_of(youtube)
    assert run(workspace) == {"ok": 4, "pending": 2}
    assert requests_of(youtube) == (0, 0)
    videos[4].fault = ""
    workspace.ledger.set_note("blocked_until", "2020-01-01T00:00:00+00:00")
    assert run(workspace) == {"ok": 6}
    assert workspace.ledger.note("blocked_until") is None
    assert requests_of(youtube)[1] == 2 * 3


def test_no_more_videos_than_allowed_are_asked_for_in_one_run(youtube: YouTube, tmp_path: Path) -> None:
    videos = talks()[:7]
    youtube.channel("@bench", videos=videos)
    youtube.add(*videos)
    workspace = make_workspace(youtube, tmp_path, videos_per_run=4)
    assert run(workspace) == {"ok": 4, "pending": 3}
    assert run(workspace) == {"ok": 7}


def test_imported_captions_are_read_and_never_asked_for(youtube: YouTube, tmp_path: Path) -> None:
    videos = talks()[:6]
    videos[1].fault = "private"
    videos[2].badge = "upcoming"
    youtube.channel("@bench", videos=videos)
    youtube.add(*videos)
    workspace = make_workspace(youtube, tmp_path)
    assert run(workspace) == {"not_yet": 1, "ok": 4, "private": 1}
    requests_of(youtube)
    captions = tmp_path / "captions"
    captions.mkdir()
    for video in (videos[0], videos[1], videos[2]):
        lines = [f"Kettle {video.video_id}.", *LINES]
        blocks = [f"00:00:{at:02}.000 --> 00:00:{at + 1:02}.000\n{line}" for at, line in enumerate(lines)]
        (captions / f"{video.video_id}.en.vtt").write_text("\n\n".join(["WEBVTT", *blocks]))
    assert main(["--home", str(tmp_path), "import", str(captions), "--channel", "bench"]) == 0
    assert workspace.ledger.counts() == {"ok": 3, "pending": 3}
    assert run(workspace) == {"ok": 6}
    assert requests_of(youtube) == (1, 0)
    row = workspace.ledger.get(f"yt-{videos[1].video_id}")
    assert row and row.how == "imported captions .vtt, 16 captions" and row.language == "en"
    assert run(workspace) == {"ok": 6}
    assert requests_of(youtube) == (1, 0)
