"""The review page in a real Chromium, driven through its DevTools: what a person does with the keys works."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, browser, needs_chromium
from tests.unit.pairs import pair
from understudy import store
from understudy.channel.decisions import load
from understudy.web.review.server import Server, serve

HOSTILE = "<img src=x onerror=alert(1)> **bold**\n\n- one\n- two\n\n```\nwider than a phone " + "x" * 99

__all__ = ["browser"]
pytestmark = needs_chromium


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    refused = {"kept": False, "gate": "length", "reason": "11 words are fewer than 20"}
    pairs = [
        pair("yt-abc", 1, answer=HOSTILE).model_copy(update={"start_seconds": 75.0, "title": "On <heat>"}),
        pair("yt-abc", 2, "What is cold?").model_copy(update=refused),
        *(pair(f"talk-{n % 40}", n, f"What is number {n} of them all?") for n in range(3, 4001)),
    ]
    data, rows = store.encode("pairs.parquet", pairs)
    store.write_file(tmp_path, "pairs", "data/talks/dataset/pairs.parquet", data, rows, "1")
    server = serve(tmp_path / "data" / "talks")
    yield server
    server.close()


@pytest.fixture
def page(served: Server, browser: Browser) -> Browser:
    browser.look("light", 1100, 900)
    browser.ask("Page.navigate", url=served.url)
    browser.until("document.querySelectorAll('article').length === 25")
    return browser


def test_a_person_reviews_with_the_keys_alone(page: Browser, tmp_path: Path) -> None:
    page.shoot("light")
    assert page.current == "yt-abc#1"
    page.press("j")
    assert page.current == "yt-abc#2"
    page.press("u")
    page.until("document.querySelector('.current .verdict').textContent === 'kept'")
    page.press("k")
    page.press("r")
    page.until("document.querySelector('#reject').open")
    page.press("Enter")
    page.until("document.querySelector('#reject .wrong').textContent.includes('reason')")
    page.write("#reject input", "not in the talk")
    page.press("Enter")
    page.until("!document.querySelector('#reject').open")
    assert page.value("document.querySelector('.current .reason').textContent") == "not in the talk"
    page.shoot("decided")
    page.press("e")
    page.until("document.querySelector('#edit').open")
    page.write("#edit [name=question]", "What, then, is warmth?")
    page.shoot("edit")
    page.press("Enter", modifiers=2)
    page.until("!document.querySelector('#edit').open")
    assert page.value("document.querySelector('.current h2').textContent") == "What, then, is warmth?"
    page.press("/")
    page.write("#search", "number 3999")
    page.until("document.querySelectorAll('article').length === 1")
    page.press("Enter")
    page.press("?")
    page.until("document.querySelector('#help').open")
    page.press("Escape")
    page.until("!document.querySelector('#help').open")
    kept = load(tmp_path / "data/talks").standing.values()
    assert [(s.kept, s.question) for s in kept] == [(True, None), (True, "What, then, is warmth?")]
    # The refused empty reason is the only thing the browser may log: a 400 that the page shows in words.
    assert all("400" in str(c) for c in page.complaints), page.complaints


def test_the_keys_go_on_over_the_end_of_a_page_and_back(page: Browser) -> None:
    for _ in range(25):
        page.press("j")
    page.until("document.querySelector('#page').textContent.startsWith('Page 2 ')")
    page.until("document.querySelector('.current') === document.querySelector('article')")
    page.press("k")
    page.until("document.querySelector('#page').textContent.startsWith('Page 1 ')")
    page.until("document.querySelector('.current') === document.querySelector('article:last-child')")
    assert not page.complaints


def test_text_of_a_talk_is_shown_and_never_run(page: Browser) -> None:
    assert page.value("document.querySelectorAll('main img, main script').length") == 0
    assert "onerror" in page.value("document.querySelector('.current .answer').textContent")
    assert page.value("document.querySelector('.title').textContent") == "On <heat>"
    assert page.value("document.querySelector('.current .play').href") == "https://youtu.be/abc?t=75"
    assert not page.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1100])
def test_nothing_is_wider_than_the_screen(page: Browser, scheme: str, width: int) -> None:
    page.look(scheme, width, 844)
    page.until(f"innerWidth === {width}")
    assert page.value("document.documentElement.scrollWidth") <= width
    page.shoot(f"{scheme}-{width}")
    assert not page.complaints
