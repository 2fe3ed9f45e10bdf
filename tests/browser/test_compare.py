"""The blind comparison in a real Chromium: a person gets from the first pair to the result by keys alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, browser, needs_chromium
from understudy.records import Judgement
from understudy.scoring import preferences
from understudy.web.compare import Duel, Sitting, draw
from understudy.web.loopback import PageServer

__all__ = ["browser"]
pytestmark = needs_chromium
HOSTILE = "<img src=x onerror=alert(1)> **bold**\n\n- one\n\n```\nwider than a phone " + "x" * 200
DUELS = [
    Duel(
        f"t#{n}",
        f"t{n % 4}",
        f"Why is number {n} <b>warm</b>?",
        f"**Because** of {n}.",
        f"**Heat** moves from the hot thing to the cold thing.\n\nThink of {n} people who leave a theatre. " * 4,
        HOSTILE if n == 0 else f"Number {n} is warm because warm things are warm.",
    )
    for n in range(20)
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[PageServer]:
    judged = [Judgement(pair_id=duel.pair_id, document_id="t", voice="tuned") for duel in DUELS]
    server = PageServer(Sitting(tmp_path, draw(DUELS, 20, "s"), "tuned", "base", judged).page())
    yield server
    server.close()


@pytest.fixture
def page(served: PageServer, browser: Browser) -> Browser:
    browser.look("light", 1200, 900)
    browser.ask("Page.navigate", url=served.url)
    browser.until("document.querySelector('#place')?.textContent === 'Pair 1 of 20'")
    return browser


def test_a_person_gets_to_the_result_by_keys_alone(page: Browser, tmp_path: Path) -> None:
    page.shoot("compare")
    for number in range(20):
        page.until(f"document.querySelector('#place').textContent === 'Pair {number + 1} of 20'")
        heat = page.value("document.querySelector('#first').textContent.includes('Heat')")
        page.press("t" if number == 7 else "0" if number == 8 else "1" if heat else "2")
    page.until("!document.querySelector('#result').hidden")
    result_text = page.value("document.querySelector('#result').textContent")
    assert "tuned was chosen in 18 of 18 decided pairs" in result_text and "you prefer tuned" in result_text
    assert "The judge agrees with you on 90 % of 20 questions" in result_text
    page.shoot("compare-result")
    assert len(preferences.load(tmp_path)) == 20
    page.press("Backspace")
    page.until("document.querySelector('#place').textContent === 'Pair 20 of 20'")
    assert len(preferences.load(tmp_path)) == 19
    assert not page.complaints


def test_a_reload_goes_on_where_it_was(page: Browser) -> None:
    page.press("1")
    page.until("document.querySelector('#place').textContent === 'Pair 2 of 20'")
    question = page.value("document.querySelector('#question').textContent")
    page.ask("Page.reload")
    page.until("document.querySelector('#place')?.textContent === 'Pair 2 of 20'")
    assert page.value("document.querySelector('#question').textContent") == question
    assert not page.complaints


def test_no_name_is_in_the_page_before_the_end(page: Browser) -> None:
    shown = page.value("document.body.innerText").lower()
    assert "tuned" not in shown and "base" not in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_wider_than_the_screen(page: Browser, scheme: str, width: int) -> None:
    page.look(scheme, width, 844)
    page.until(f"innerWidth === {width}")
    assert page.value("document.documentElement.scrollWidth") <= width
    page.shoot(f"compare-{scheme}-{width}")
    assert page.value("document.querySelectorAll('main img, main script').length") == 0
    assert not page.complaints
