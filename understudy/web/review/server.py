"""
The review page on this machine only; `understudy.web.loopback` says who is answered.

    GET  /<token>/          the page, whole
    GET  /<token>/menu      what can be filtered by
    GET  /<token>/pairs     one page of cards; the query is a Wish
    POST /<token>/decide    one decision; the body is an Order as JSON
"""

import webbrowser
from pathlib import Path

from understudy.errors import UnderstudyError
from understudy.text.words import slug
from understudy.web.loopback import Page, PageServer
from understudy.web.review import Order, Shelf, Wish

Server = PageServer


def serve(folder: Path, port: int = 0, open_browser: bool = False) -> PageServer:
    """The pairs of the channel in `folder` (data/<channel>) on a page. Raises UnderstudyError without a dataset."""
    shelf = Shelf(folder)
    page = Page(
        command="review",
        package="understudy.web.review",
        gets={"menu": lambda query: shelf.menu(), "pairs": lambda query: shelf.show(Wish.model_validate(query))},
        posts={"decide": lambda body: shelf.decide(Order.model_validate_json(body))},
        body="a decision",
    )
    server = PageServer(page, port)
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
    server.until_interrupted()
    return 0
