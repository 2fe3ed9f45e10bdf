"""One tab of a headless Chromium, driven through its DevTools, for pictures of pages on this machine."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.request import urlopen

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync --disable-extensions "
    "--remote-debugging-port=0"
)
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
PATIENCE_SECONDS = 90.0


class NoBrowser(Exception):
    """No Chromium could be used; the message says what to do."""


class Tab:
    """The tab; `width` and heights are in CSS pixels, one to a pixel of the picture."""

    def __init__(self, address: str, width: int) -> None:
        from websockets.sync.client import connect

        self._socket = connect(address, max_size=None, open_timeout=PATIENCE_SECONDS)
        self._numbers = count(1)
        self.width = width
        self.tall(900)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """What DevTools answers to one command."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(PATIENCE_SECONDS))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self.overheard(message)

    def overheard(self, event: dict[str, Any]) -> None:
        """Called with every event that DevTools sends by itself."""

    def tall(self, height: int) -> None:
        """Make the window that high."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=self.width, height=height, deviceScaleFactor=1, mobile=False
        )

    def open(self, address: str, shows: str) -> None:
        """Go to a page, and wait until it shows the words `shows`."""
        self.ask("Page.navigate", url=address)
        self.until(f"document.body && document.body.innerText.includes({json.dumps(shows)})")

    def value(self, script: str) -> Any:
        """The value of `script` in the page."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def until(self, script: str) -> None:
        """Wait until `script` is true in the page. Raises TimeoutError with the text of the page."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.value(script):
            if time.monotonic() > end:
                text = " ".join(str(self.value("document.body.innerText")).split())[:300]
                raise TimeoutError(f"{script} never became true; the page says: {text}")
            time.sleep(0.1)

    def picture(self, file: Path) -> None:
        """Write a PNG of the window, once it no longer changes."""
        before, end = b"", time.monotonic() + PATIENCE_SECONDS
        while (now := base64.b64decode(self.ask("Page.captureScreenshot")["data"])) != before:
            if time.monotonic() > end:
                break  # something on the page is animated; any moment of it will do
            before = now
            time.sleep(0.7)
        file.write_bytes(now)


def program() -> str | None:
    """The Chromium of this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


Kind = TypeVar("Kind", bound=Tab)


@contextmanager
def tab(width: int, kind: type[Kind]) -> Iterator[Kind]:
    """A tab of a Chromium that ends with the block. Raises NoBrowser."""
    chromium = program()
    if chromium is None:
        raise NoBrowser(f"no Chromium was found ({', '.join(NAMES)}); install one, for example: apt install chromium")
    with TemporaryDirectory(prefix="understudy-chromium-", ignore_cleanup_errors=True) as profile:
        command = [chromium, *FLAGS.split(), ONLY_HERE, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield kind(_address(Path(profile) / "DevToolsActivePort"), width)
        finally:
            process.terminate()
            process.wait()


def _address(file: Path) -> str:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (file.exists() and file.read_text().strip()):
        if time.monotonic() > end:
            raise NoBrowser(f"Chromium did not start within {PATIENCE_SECONDS:.0f} s; start it by hand to see why")
        time.sleep(0.1)
    with urlopen(f"http://127.0.0.1:{file.read_text().split()[0]}/json/list", timeout=10) as reply:
        return str(next(one["webSocketDebuggerUrl"] for one in json.load(reply) if one["type"] == "page"))
