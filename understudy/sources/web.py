"""Files from the web for sources: with limits of time, size and redirects, and errors that the ledger understands."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from understudy.errors import Refused, Transient
from understudy.interfaces import Progress

DAY = 86_400.0
TIMEOUT_SECONDS = (10.0, 60.0)
REDIRECTS = 10
CHUNK = 1 << 18
MOST_BYTES = 4_000_000_000
"""Of one file: twelve hours of sound have 700 MB."""
SLOW_DOWN = (429, 503)


class Web:
    """One session. Not for several threads at once."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.max_redirects = REDIRECTS
        self.session.headers["User-Agent"] = "understudy (reads a feed for its transcripts)"

    def get(self, url: str, most_bytes: int) -> bytes:
        """What is at `url`. Raises Refused, Transient."""
        with self._reply(url) as reply:
            content = bytearray()
            for chunk in reply.iter_content(CHUNK):
                content += chunk
                if len(content) > most_bytes:
                    raise Refused(f"{_shown(url)} is larger than {most_bytes // 1_000_000} MB")
            return bytes(content)

    def download(self, url: str, file: Path, progress: Progress) -> None:
        """`url` as `file`, continued where an earlier attempt was cut. Raises Refused, Transient."""
        partial = file.with_name(f"{file.name}.part")
        have = partial.stat().st_size if partial.exists() else 0
        with self._reply(url, have) as reply:
            if reply.status_code == requests.codes.requested_range_not_satisfiable:
                partial.unlink()  # all of it was here, or it is another file now
                raise Transient(f"{_shown(url)} is downloaded again from its beginning")
            goes_on = reply.status_code == requests.codes.partial_content
            have = have if goes_on else 0
            total = have + int(reply.headers.get("Content-Length") or 0)
            file.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("ab" if goes_on else "wb") as out:
                for chunk in reply.iter_content(CHUNK):
                    have += out.write(chunk)
                    if max(have, total) > MOST_BYTES:
                        raise Refused(f"{_shown(url)} is larger than {MOST_BYTES // 1_000_000_000} GB")
                    progress(have // 1_000_000, max(have, total) // 1_000_000, "MB")
        os.replace(partial, file)

    @contextmanager
    def _reply(self, url: str, begin: int = 0) -> Iterator[requests.Response]:
        if not url.startswith(("http://", "https://")):
            raise Refused(f"{_shown(url)} is no address on the web")
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        try:
            with self.session.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers) as reply:
                _check(reply.status_code, url)
                yield reply
        except requests.TooManyRedirects:
            raise Refused(f"{_shown(url)} redirects more than {REDIRECTS} times") from None
        except requests.exceptions.InvalidURL:
            raise Refused(f"{_shown(url)} is no address on the web") from None
        except requests.RequestException as error:
            raise Transient(f"{_shown(url)} does not answer ({type(error).__name__})") from None


def _check(status: int, url: str) -> None:
    if status in SLOW_DOWN or status >= 500:
        raise Transient(f"{_shown(url)} answers {status}")
    if status in (401, 403):
        raise Refused(f"{_shown(url)} is not for everybody ({status})", "private", 30 * DAY)
    if status >= 400 and status != requests.codes.requested_range_not_satisfiable:
        raise Refused(f"there is nothing at {_shown(url)} ({status})", "unavailable", DAY)


def _shown(url: str) -> str:
    """An address without what may be a key."""
    return url.partition("?")[0].rpartition("@")[2][:200]
