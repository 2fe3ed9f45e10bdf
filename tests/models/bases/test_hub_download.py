"""Laws of a base that is downloaded, from a hub on the loopback."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from understudy.bases.hub import HubBase
from understudy.records import BaseCard

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_base: tuple[Path, BaseCard], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub that knows one repository, at one commit."""
    folder = tiny_base[0]
    names = sorted(file.name for file in folder.iterdir() if file.is_file())

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            if self.path.startswith("/api/models/owner/model/tree/"):
                self.reply(json.dumps([{"type": "file", "path": n, "size": 1, "oid": n} for n in names]).encode())
            elif self.path.startswith("/api/models/owner/model"):
                listed = {"id": "owner/model", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
                self.reply(json.dumps(listed).encode())
            elif self.path.startswith("/owner/model/resolve/") and name in names:
                self.reply((folder / name).read_bytes())
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def reply(self, body: bytes) -> None:
            self.send_response(200)
            digest = hashlib.sha256(body).hexdigest()
            for header in (("Content-Length", str(len(body))), ("ETag", f'"{digest}"'), ("X-Repo-Commit", COMMIT)):
                self.send_header(*header)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield address
    server.shutdown()
    server.server_close()


def test_the_commit_that_was_downloaded_is_noted(hub: str, tiny_base: tuple[Path, BaseCard], tmp_path: Path) -> None:
    options = HubBase.Options(repository="owner/model", allow_untested=True)
    card = HubBase(options).prepare([], tmp_path, 1, lambda done, total, note="": None)
    assert card.notes["revision"] == COMMIT and card.parameters == tiny_base[1].parameters
    assert (tmp_path / "config.json").read_bytes() == (tiny_base[0] / "config.json").read_bytes()
    assert not (tmp_path / ".cache").exists()
