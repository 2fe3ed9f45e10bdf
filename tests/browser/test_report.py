"""report.html in a real Chromium: quick, quiet, no wider than a phone, and blind when it is asked to be."""

import base64
import re
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, browser, needs_chromium
from tests.unit.report.test_page import EVIL, evidence
from understudy.report.page import html

__all__ = ["browser"]
pytestmark = needs_chromium
LONG = f"**Heat** moves. {EVIL}\n\n- one\n- two\n\n" + "word " * 700 + "x" * 300
SHOWN = "getComputedStyle(document.querySelector({!r})).display !== 'none'"


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Browser:
    file = tmp_path / "report.html"
    file.write_text(html(evidence(EVIL, LONG)), encoding="utf-8")
    assert len(file.read_bytes()) < 2_000_000
    browser.look("light", 1200, 900)
    browser.ask("Page.navigate", url=file.as_uri())
    browser.until(
        "document.readyState === 'complete' && document.querySelectorAll('.specialists .sample').length === 12"
    )
    return browser


@pytest.fixture
def opened(page: Browser) -> Browser:
    """The page with its part for specialists unfolded."""
    page.value("document.querySelector('.specialists').open = true")
    return page


def test_the_page_opens_at_once_and_says_nothing_to_the_console(page: Browser) -> None:
    assert page.value("performance.getEntriesByType('navigation')[0].loadEventEnd") < 5000
    assert page.value("performance.getEntriesByType('resource').length") == 0
    assert page.value("document.scripts.length") == 0
    assert not page.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_wider_than_the_screen(page: Browser, scheme: str, width: int) -> None:
    page.look(scheme, width, 844)
    page.until(f"innerWidth === {width}")
    for part in ("folded", "opened"):
        page.value(f"document.querySelector('.specialists').open = {str(part == 'opened').lower()}")
        assert page.value("document.documentElement.scrollWidth") <= width, part
        page.shoot(f"report-{scheme}-{width}-{part}", whole=True)
    assert not page.complaints


def test_names_are_hidden_until_each_is_revealed_with_the_keys_alone(opened: Browser) -> None:
    page = opened
    names = "[...document.querySelectorAll('.specialists .sample .who')].filter(e => e.checkVisibility()).length"
    letters = "[...document.querySelectorAll('.specialists .sample .letter')].filter(e => e.checkVisibility()).length"
    assert (page.value(names), page.value(letters)) == (12 * 5, 0)
    page.value("document.querySelector('#blind').focus()")
    page.press(" ")
    page.until(f"{names} === 0 && {letters} === 48")
    page.shoot("report-blind")
    page.value("document.querySelector('#reveal-1').focus()")
    page.press(" ")
    page.until(f"{names} === 5")
    page.value("document.querySelector('#blind').focus()")
    page.press(" ")
    page.until(f"{names} === 60 && {letters} === 0")


def test_hidden_columns_stand_in_an_order_of_their_own(opened: Browser) -> None:
    page = opened
    lefts = (
        "[...document.querySelectorAll('.specialists .answers')].map(a => [...a.children]"
        ".sort((x, y) => x.offsetLeft - y.offsetLeft).map(c => c.className.slice(-1)).join('')).join(' ')"
    )
    assert set(page.value(lefts).split()) == {"0123"}
    page.value("document.querySelector('#blind').click()")
    assert len(set(page.value(lefts).split())) > 3


def test_a_printed_page_shows_no_switches_and_is_short_however_long_the_answers(page: Browser) -> None:
    page.ask("Emulation.setEmulatedMedia", media="print")
    assert not page.value(SHOWN.format("#blind"))
    printed = base64.b64decode(page.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 4
