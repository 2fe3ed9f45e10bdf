"""Laws of publishing, against a hub on this machine."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, Transient
from understudy.hub import chosen, publish

TOKEN = "hf_secret_of_nobody"
ALLOWED = {"permission": "owned", "base_licence": "apache-2.0"}


class Hub(ThreadingHTTPServer):
    """As much of a hub as an upload needs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization"))
        body, place = self._body(), self.path.partition("?")[0]
        if self.server.status != 200:
            self._tell({"error": f"no, {self.headers.get('Authorization')}"}, self.server.status)
        elif place == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._tell({"url": f"{self.server.url}/somebody/candles"})
        elif place == "/api/validate-yaml":
            self._tell({"warnings": [], "errors": []})
        elif "/preupload/" in place:
            files = [f["path"] for f in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith((".gguf", ".safetensors")) else "regular" for name in files}
            self._tell({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]})
        elif place.endswith("/info/lfs/objects/batch"):
            told = [
                {**o, "actions": {"upload": {"href": f"{self.server.url}/blob/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            self._tell({"transfer": "basic", "objects": told})
        else:
            assert "/commit/main" in place, place
            self._commit([json.loads(line) for line in body.splitlines()])
            self._tell({"commitUrl": f"{self.server.url}/somebody/candles/commit/1", "commitOid": "1"})

    def do_PUT(self) -> None:
        body = self._body()
        assert hashlib.sha256(body).hexdigest() == self.path.rpartition("/")[2]
        self.server.blobs[self.path.rpartition("/")[2]] = body
        self._tell({})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[value["path"]] = self.server.blobs[value["oid"]]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _tell(self, content: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Xet is a service of its own beside the hub; without it the client uploads to the hub itself.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A run's folder, with more in it than may leave the machine."""
    folder = tmp_path / "run"
    for name in (
        "README.md",
        "gguf/m [Q8_0].gguf",
        "gguf/refused.gguf",
        "gguf/m.log",
        "fused/config.json",
        "fused/model.safetensors",
        "adapter/metrics.jsonl",
        "adapter/checkpoints/adapters.safetensors",
        "data/documents/talk/README.md",
        "data/model.gguf",
        "calls/config.json",
        "ledger.sqlite",
        "calls.sqlite",
        "pairs.parquet",
        "train.jsonl",
        "report.html",
        ".env",
        ".cache/config.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"the bytes of {name}".encode())
    outside = tmp_path / "secret.gguf"
    outside.write_bytes(b"somebody else's")
    (folder / "gguf" / "linked.gguf").symlink_to(outside)
    return folder


def test_only_the_model_leaves_the_machine(hub: Hub, model: Path) -> None:
    address = publish(
        model, "somebody/candles", "HUB_TOKEN", endpoint=hub.url, without=["gguf/refused.gguf"], **ALLOWED
    )
    assert address == f"{hub.url}/somebody/candles"
    assert sorted(hub.files) == ["README.md", "fused/config.json", "fused/model.safetensors", "gguf/m [Q8_0].gguf"]
    assert all(content == (model / name).read_bytes() for name, content in hub.files.items())


def test_a_model_is_private_unless_told_otherwise(hub: Hub, model: Path) -> None:
    publish(model, "somebody/candles", "HUB_TOKEN", endpoint=hub.url, **ALLOWED)
    publish(model, "somebody/candles", "HUB_TOKEN", False, hub.url, **ALLOWED)
    assert [made["visibility"] for made in hub.created] == ["private", "public"]
    assert {f"Bearer {TOKEN}"} <= hub.tokens <= {f"Bearer {TOKEN}", None}


@pytest.mark.parametrize("permission", ["own_risk", None, ""])
def test_nothing_is_sent_without_the_right_to_the_talks(hub: Hub, model: Path, permission: str | None) -> None:
    with pytest.raises(ConfigError, match="owned or permitted"):
        publish(model, "a/b", "HUB_TOKEN", endpoint=hub.url, permission=permission, base_licence="mit")
    assert not hub.tokens


def test_every_reason_not_to_publish_is_told_at_once(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_TOKEN")
    with pytest.raises(ConfigError) as error:
        publish(tmp_path, "candles", "HUB_TOKEN", endpoint=hub.url, permission="own_risk", base_licence="secret-eula")
    for words in ("owner/name", "own_risk", "secret-eula", "README.md", "no weights", "HUB_TOKEN is empty"):
        assert words in str(error.value)
    assert not hub.tokens


def test_a_licence_with_terms_goes_with_the_model(hub: Hub, model: Path) -> None:
    llama = {"permission": "permitted", "base_licence": "llama3.2"}
    with pytest.raises(ConfigError) as error:
        publish(model, "somebody/candles", "HUB_TOKEN", endpoint=hub.url, **llama)
    assert "LICENSE" in str(error.value) and "begins with 'Llama'" in str(error.value)
    (model / "LICENSE.txt").write_text("terms")
    publish(model, "somebody/Llama-candles", "HUB_TOKEN", endpoint=hub.url, **llama)
    assert "LICENSE.txt" in hub.files


@pytest.mark.parametrize(("status", "kind"), [(401, ConfigError), (403, ConfigError)])
def test_the_token_is_in_no_message(hub: Hub, model: Path, status: int, kind: type[Exception]) -> None:
    hub.status = status
    with pytest.raises(kind, match=str(status)) as error:
        publish(model, "somebody/candles", "HUB_TOKEN", endpoint=hub.url, **ALLOWED)
    assert TOKEN not in str(error.value) and error.value.__cause__ is None


def test_a_hub_that_is_not_there_may_be_tried_again(hub: Hub, model: Path) -> None:
    hub.server_close()
    with pytest.raises(Transient, match="could not be reached") as error:
        publish(model, "somebody/candles", "HUB_TOKEN", endpoint="http://127.0.0.1:9", **ALLOWED)
    assert TOKEN not in str(error.value)


def test_a_folder_of_a_channel_holds_nothing_to_publish(tmp_path: Path) -> None:
    for name in ("documents/a/answers.json", "dataset/train.jsonl", "ledger.sqlite", "dataset/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert chosen(tmp_path) == []
