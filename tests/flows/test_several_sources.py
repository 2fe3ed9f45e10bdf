"""One teacher on a channel, in a podcast and in a folder: one ledger, one dataset, each talk once."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.feed_server import Feeds, episode, feed
from tests.fixtures.feed_server import serve as serve_feeds
from tests.fixtures.youtube_server import YouTube
from tests.flows.conftest import ROOT
from tests.flows.test_channel import requests_of, run, talks
from understudy import config
from understudy.channel.ledger import key_of
from understudy.config import load
from understudy.errors import ConfigError
from understudy.sources.documents import DocumentsSource
from understudy.stages.estimate_page import talks_of
from understudy.workspace import Workspace

SAMPLE = ROOT / "deployments" / "sample_channel"
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def feeds() -> Iterator[Feeds]:
    with serve_feeds() as running:
        yield running


def channel(youtube: YouTube, **more: Any) -> dict[str, Any]:
    quick = {"base_url": youtube.url, "seconds_between_videos": 0, "seconds_between_pages": 0, "tabs": ["videos"]}
    return {"use": "youtube", "channel": "@bench", **quick, **more}


def workspace(home: Path, *sources: dict[str, Any]) -> Workspace:
    given = {"sources": list(sources)} if len(sources) > 1 else {"source": sources[0]}
    changes = {"permission": "owned", "name": "bench", "teacher": {"use": "extractive"}, **given}
    return Workspace(home=home, config=load(ROOT / "deployments/presets/documents.yaml", changes))


def test_a_source_is_added_and_taken_away_and_each_talk_is_read_once(
    youtube: YouTube, feeds: Feeds, tmp_path: Path
) -> None:
    youtube.channel("@bench", videos=talks()[:4])
    home = tmp_path / "home"
    alone = workspace(home, channel(youtube))
    assert run(alone) == {"ok": 4}
    before = {row.document_id: row for row in alone.ledger.rows()}
    requests_of(youtube)

    listed = DocumentsSource(DocumentsSource.Options(path=SAMPLE))
    files = [SAMPLE / entry.locator for entry in listed.entries()]
    texts = [listed.fetch(entry).text for entry in listed.entries()]
    folder = tmp_path / "talks"
    folder.mkdir()
    for file in files[3:6]:  # one is on the channel, too
        shutil.copy(file, folder)
    copies = [(feeds.add(f"/{at}.txt", texts[at]), "text/plain") for at in (5, 6)]
    url = feeds.add("/feed.xml", feed(*(episode(f"Episode {at}", transcripts=(one,)) for at, one in enumerate(copies))))
    several = workspace(
        home,
        channel(youtube),
        {"use": "documents", "path": str(folder)},
        {"use": "podcast", "feed": url, "seconds_between_episodes": 0},
    )
    counts = run(several)
    rows = {row.document_id: row for row in several.ledger.rows()}
    assert counts == {"duplicate": 2, "ok": 7}, [(row.document_id, row.status, row.reason) for row in rows.values()]
    assert {name: rows[name] for name in before} == before  # nothing of the channel was read again
    assert requests_of(youtube) == (1, 0)
    folders, episodes = (key for key in several.config.sources_by_key if key)
    assert {key_of(row.revision) for row in rows.values()} == {"", folders, episodes}
    assert [row.reason for row in rows.values() if row.status == "duplicate" and key_of(row.revision) == folders] == [
        "the same talk as yt-talk0000003"
    ]
    assert len(talks_of(several).talks) == 7

    feeds.log.clear()
    assert run(several) == counts and [path for path, _ in feeds.log] == ["/feed.xml"]
    feeds.files.clear()  # one source that does not answer stops none of the others
    assert run(several) == counts
    assert run(alone) == {"ok": 4, "removed": 5}


def test_the_first_of_several_sources_is_changed_where_it_stands(youtube: YouTube, tmp_path: Path) -> None:
    several = workspace(tmp_path, channel(youtube), {"use": "documents", "path": str(SAMPLE)})
    assert several.config.source.options["channel"] == "@bench"
    with pytest.raises(ConfigError, match="source: the preset has sources, the first of which it would be"):
        load(ROOT / "deployments/presets/documents.yaml", {
            "name": "x", "source": {"use": "documents", "path": "."}, "sources": several.config.model_dump()["sources"],
        })  # fmt: skip
    each = config.changed(several.config, {"source.min_words": 7, "source.tabs": ["shorts"]})
    assert [spec.options.get("min_words") for spec in each.sources] == [None, 7]
    assert [spec.options.get("tabs") for spec in each.sources] == [["shorts"], None] and each.source == each.sources[0]
    with pytest.raises(ConfigError, match=r"sources\[1\]\.languages: the source 'documents' has no such option"):
        workspace(tmp_path, channel(youtube), {"use": "documents", "path": str(SAMPLE), "languages": ["de"]})
