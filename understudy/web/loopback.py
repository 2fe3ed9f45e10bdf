"""
A page on this machine only: loopback, a port, and a token in the address without which nothing is answered.

A page is a folder of the package with page.html, page.css and page.js, and the calls its script makes: what is asked
for with GET gets the query, what is posted gets the JSON body, and each answers with a record. No other page may
read or embed it, nothing is cached, and the page itself may load nothing else.
"""

import errno
import hmac
import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from understudy.errors import UnderstudyError

log = logging.getLogger("understudy.web.loopback")

ADDRESS = "127.0.0.1"
LARGEST_BODY_BYTES = 1_000_000
IDLE_SECONDS = 30


@dataclass(frozen=True)
class Page:
    """What is served."""

    command: str
    """Which command printed the address, e.g. 'review'."""
    package: str
    """Where page.html, page.css and page.js are."""
    gets: Mapping[str, Callable[[dict[str, str]], BaseModel]]
    """Path of a GET > what answers it."""
    posts: Mapping[str, Callable[[bytes], BaseModel]]
    """Path of a POST > what answers it. Raises ValidationError for a body that is wrong."""
    body: str
    """What a body is called when one is refused, e.g. 'a decision'."""


class PageServer:
    """A page that is being served, from threads of its own."""

    def __init__(self, page: Page, port: int = 0) -> None:
        """Answer at once, on `port` or, for 0, on any free one. Raises UnderstudyError when the port is taken."""
        self.token = secrets.token_urlsafe(24)
        try:
            self._http = _Http((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "is taken by another program" if in_use else f"cannot be used ({error})"
            raise UnderstudyError(f"port {port} of {ADDRESS} {why}; name another one, or 0 for any free one") from None
        self._http.page, self._http.token = page, self.token
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is; anyone who knows it may use it."""
        return f"http://{ADDRESS}:{self._http.server_port}/{self.token}/"

    def close(self) -> None:
        """Answer no more; everything that was confirmed is on disk."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def until_interrupted(self) -> None:
        """Serve until Ctrl-C, then close."""
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
        finally:
            self.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    page: Page
    token: str


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version, sys_version = "understudy", ""

    def parse_request(self) -> bool:
        """Whether to answer at all; of any method, so that none can be forgotten."""
        if not super().parse_request():
            return False
        path, _, self.query = self.path.partition("?")
        token, _, self.place = path.removeprefix("/").partition("/")
        if self._for_us() and hmac.compare_digest(token.encode(), self.server.token.encode()):
            return True
        why = f"open the address that `{self.server.page.command}` printed, with its token"
        self._refuse(HTTPStatus.FORBIDDEN, why)
        return False

    def do_GET(self) -> None:
        """The page, or what its script asks for."""
        if self.place == "":
            self._page()
        elif show := self.server.page.gets.get(self.place):
            query = dict(parse_qsl(self.query))
            self._answer(lambda: show(query))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """What the page's script has to say."""
        size, body = self.headers.get("Content-Length", ""), self.server.page.body
        take = self.server.page.posts.get(self.place)
        if take is None or self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, f"only {body}, as JSON, can be posted")
        elif not size.isdecimal() or int(size) > LARGEST_BODY_BYTES:
            if size.isdecimal():  # a client that is still sending reads no answer
                self.rfile.read(min(int(size), 16 * LARGEST_BODY_BYTES))
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{body} has at most {LARGEST_BODY_BYTES} bytes")
        else:
            content = self.rfile.read(int(size))
            self._answer(lambda: take(content))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the token out of the terminal."""

    def _for_us(self) -> bool:
        """True when the browser meant this server, not a foreign name that somebody pointed at this machine."""
        port = self.server.server_port
        return self.headers.get("Host") in {f"{name}:{port}" for name in (ADDRESS, "localhost")}

    def _page(self) -> None:
        here = files(self.server.page.package)
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
    "Referrer-Policy": "no-referrer",  # the address holds the token; a play link must not reveal it
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def rendered(answer: str) -> str:
    """The markdown of an answer as HTML that can neither run nor load anything; raw HTML and links stay text."""
    from markdown_it import MarkdownIt

    if not answer.strip():
        return "<p>(empty)</p>"
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["image", "link", "autolink", "reference", "html_inline", "html_block"])
    return str(reader.render(answer))
