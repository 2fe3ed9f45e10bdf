"""
The review page on this machine only: loopback, a random port, and a token without which nothing is answered.

    GET  /<token>/          the page, whole
    GET  /<token>/menu      what can be filtered by
    GET  /<token>/pairs     one page of cards; the query is a Wish
    POST /<token>/decide    one decision; the body is an Order as JSON
"""

import hmac
import json
import logging
import secrets
import threading
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from understudy.errors import UnderstudyError
from understudy.review import Order, Shelf, Wish
from understudy.text import slug

log = logging.getLogger("understudy.review")

ADDRESS = "127.0.0.1"
LARGEST_BODY_BYTES = 1_000_000
IDLE_SECONDS = 30


class Server:
    """A review page that is being served."""

    def __init__(self, shelf: Shelf, port: int) -> None:
        """Answer at once, on `port` or, for 0, on any free one."""
        self.token = secrets.token_urlsafe(24)
        self._http = _Http((ADDRESS, port), _Handler)
        self._http.shelf, self._http.token = shelf, self.token
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is; whoever knows it may decide."""
        return f"http://{ADDRESS}:{self._http.server_port}/{self.token}/"

    def close(self) -> None:
        """Answer no more; every decision that was confirmed is on disk."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def serve(folder: Path, port: int = 0, open_browser: bool = False) -> Server:
    """The pairs of the channel in `folder` (data/<channel>) on a page. Raises UnderstudyError without a dataset."""
    server = Server(Shelf(folder), port)
    if open_browser:
        webbrowser.open(server.url)
    return server


def review(data: Path, channel: str) -> int:
    """Serve the page of `channel` until Ctrl-C; returns the exit status. Raises UnderstudyError without a dataset."""
    if slug(channel) != channel:
        raise UnderstudyError(f"{channel!r} is no channel name: lower-case letters, digits and hyphens")
    server = serve((data / channel).resolve())
    print(f"Review {channel} at {server.url}", flush=True)
    print("Decisions are kept at once, and the next run applies them. Ctrl-C ends.", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.close()
    return 0


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    shelf: Shelf
    token: str


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version, sys_version = "review", ""

    def parse_request(self) -> bool:
        """Whether to answer at all; of any method, so that none can be forgotten."""
        if not super().parse_request():
            return False
        path, _, self.query = self.path.partition("?")
        token, _, self.asked = path.removeprefix("/").partition("/")
        if self._for_us() and hmac.compare_digest(token.encode(), self.server.token.encode()):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that `review` printed, with its token")
        return False

    def do_GET(self) -> None:
        """The page, the menu, or a page of cards."""
        if self.asked == "":
            self._page()
        elif self.asked == "menu":
            self._answer(self.server.shelf.menu)
        elif self.asked == "pairs":
            query = dict(parse_qsl(self.query))
            self._answer(lambda: self.server.shelf.show(Wish.model_validate(query)))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """One decision."""
        size = self.headers.get("Content-Length", "")
        if self.asked != "decide" or self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "only a decision, as JSON, can be posted")
        elif not size.isdecimal() or int(size) > LARGEST_BODY_BYTES:
            if size.isdecimal():  # who is still sending hears no answer
                self.rfile.read(min(int(size), 16 * LARGEST_BODY_BYTES))
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a decision has at most {LARGEST_BODY_BYTES} bytes")
        else:
            body = self.rfile.read(int(size))
            self._answer(lambda: self.server.shelf.decide(Order.model_validate_json(body)))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the token out of the terminal."""

    def _for_us(self) -> bool:
        """True when the browser meant this server, not a foreign name that somebody pointed at this machine."""
        port = self.server.server_port
        return self.headers.get("Host") in {f"{name}:{port}" for name in (ADDRESS, "localhost")}

    def _page(self) -> None:
        here = files("understudy.review")
        parts = {kind: here.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
        nonce = secrets.token_urlsafe(16)
        page = Template(parts["html"]).substitute(style=parts["css"], script=parts["js"], nonce=nonce)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode(), policy)

    def _answer(self, work: Callable[[], BaseModel]) -> None:
        try:
            record = work()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            self._refuse(HTTPStatus.BAD_REQUEST, first["msg"].removeprefix("Value error, ") + (where and f" ({where})"))
        except UnderstudyError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        except OSError as error:
            log.exception("a request failed")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"nothing was kept: {error.strerror or error}")
        else:
            self._send(HTTPStatus.OK, "application/json", record.model_dump_json().encode())

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # a body may be left unread
        self._send(status, "application/json", json.dumps({"error": why}).encode())

    def _send(self, status: HTTPStatus, kind: str, data: bytes, policy: str = "default-src 'none'") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", policy)
        for name, value in _ALWAYS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


_ALWAYS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token; a play link must not tell it
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
