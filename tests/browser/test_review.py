"""The review page in a real Chromium, driven through its DevTools: what a person does with the keys works."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pairs import pair
from understudy import store
from understudy.decisions import load
from understudy.review.server import Server, serve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_SECONDS = 20.0
HOSTILE = "<img src=x onerror=alert(1)> **bold**\n\n- one\n- two\n\n```\nwider than a phone " + "x" * 99
SHOTS = os.environ.get("REVIEW_SHOTS")
"""A folder to keep screenshots in; none are kept without it."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


class Browser:
    """One tab. Everything it complains about is in `complaints`."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self._socket = connect(address, max_size=None, open_timeout=PATIENCE_SECONDS)
        self._numbers = count(1)
        self.complaints: list[Any] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **told: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": told}))
        while True:
            heard = json.loads(self._socket.recv(PATIENCE_SECONDS))
            if heard.get("id") == number:
                assert "error" not in heard, heard
                return heard["result"]
            if heard.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.complaints.append(heard["params"])

    def value(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until `script` is true in the page."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}; {self.complaints}"
            time.sleep(0.02)

    def press(self, key: str, **told: Any) -> None:
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = {"windowsVirtualKeyCode": {"Enter": 13, "Escape": 27}[key]} if len(key) > 1 else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code, **told)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code, **told)

    def write(self, selector: str, text: str) -> None:
        self.value(f"document.querySelector({selector!r}).select()")
        self.ask("Input.insertText", text=text)

    def shoot(self, name: str) -> None:
        if SHOTS:
            import base64

            data = self.ask("Page.captureScreenshot")["data"]
            (Path(SHOTS) / f"{name}.png").write_bytes(base64.b64decode(data))

    def look(self, scheme: str, width: int, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    @property
    def current(self) -> str:
        return self.value("document.querySelector('.current')?.dataset.pair || ''")


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
def browser(tmp_path: Path) -> Iterator[Browser]:
    profile = tmp_path / "profile"
    flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-port=0"
    quiet = "--disable-background-networking --disable-component-update --disable-sync --disable-extensions"
    alone = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        [str(CHROMIUM), *flags.split(), *quiet.split(), *alone],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Browser(_tab(profile))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tab(profile: Path) -> str:
    """The DevTools address of the only tab."""
    from urllib.request import urlopen

    end = time.monotonic() + PATIENCE_SECONDS
    known = profile / "DevToolsActivePort"
    while not (known.exists() and known.read_text().strip()):
        assert time.monotonic() < end, "chromium did not start"
        time.sleep(0.05)
    with urlopen(f"http://127.0.0.1:{known.read_text().split()[0]}/json/list", timeout=10) as reply:
        return next(t["webSocketDebuggerUrl"] for t in json.load(reply) if t["type"] == "page")


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
