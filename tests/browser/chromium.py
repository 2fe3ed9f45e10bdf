"""A real Chromium, driven through its DevTools: one tab for a test."""

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

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_SECONDS = 20.0
KEY_CODES = {"Enter": 13, "Escape": 27, "Backspace": 8}
SHOTS = os.environ.get("REVIEW_SHOTS")
"""A folder to keep screenshots in; none are kept without it."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


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
        code = {"windowsVirtualKeyCode": KEY_CODES[key]} if len(key) > 1 else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code, **told)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code, **told)

    def write(self, selector: str, text: str) -> None:
        self.value(f"document.querySelector({selector!r}).select()")
        self.ask("Input.insertText", text=text)

    def shoot(self, name: str, whole: bool = False) -> None:
        if SHOTS:
            import base64

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
