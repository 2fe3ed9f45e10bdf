"""A real Chromium, driven through its DevTools: one tab for a test."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.devtools import Tab, program, tab

KEY_CODES = {"Enter": 13, "Escape": 27, "Backspace": 8}
COMPLAINTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
SHOTS = os.environ.get("REVIEW_SHOTS")
"""A folder to keep screenshots in; none are kept without it."""

needs_chromium = pytest.mark.skipif(program() is None, reason="no chromium on this machine")


class Browser(Tab):
    """One tab. Everything it complains about is in `complaints`."""

    def __init__(self, address: str, width: int) -> None:
        self.complaints: list[Any] = []
        super().__init__(address, width)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def overheard(self, event: dict[str, Any]) -> None:
        if event.get("method") in COMPLAINTS:
            self.complaints.append(event["params"])

    def press(self, key: str, **params: Any) -> None:
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = {"windowsVirtualKeyCode": KEY_CODES[key]} if len(key) > 1 else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code, **params)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code, **params)

    def write(self, selector: str, text: str) -> None:
        self.value(f"document.querySelector({selector!r}).select()")
        self.ask("Input.insertText", text=text)

    def shoot(self, name: str, whole: bool = False) -> None:
        if SHOTS:
            data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
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
def browser() -> Iterator[Browser]:
    with tab(1200, Browser) as page:
        yield page
