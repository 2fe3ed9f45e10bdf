"""Laws of a base that is downloaded, from a hub on the loopback that breaks off on demand."""

import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.models.exporters.gguf_models import make_model
from understudy.bases import hub_download
from understudy.bases.hub import HubBase
from understudy.errors import ConfigError, Transient
from understudy.records import BaseCard

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARD = "model-00002-of-00002.safetensors"


class Hub(ThreadingHTTPServer):
    """A hub with one repository, owner/model, at one commit."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.unlisted = files, set[str]()
        self.breaking: str | None = None
        """This file ends in the middle, and after that there is no more of it."""
        self.gets: list[tuple[str, str | None]] = []
        """Every file that was asked for, with the range."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        if self.path.startswith("/api/models/owner/model"):
            self.reply(json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": self.listed()}).encode())
        elif self.path.startswith(f"/owner/model/resolve/{COMMIT}/") and name in self.server.files:
            self.file(name, self.server.files[name])
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def listed(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = []
        for name, content in self.server.files.items():
            digest = hashlib.sha256(content).hexdigest()
            lfs = {"size": len(content), "sha256": digest, "pointerSize": 1} if name.endswith(".safetensors") else None
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if name not in self.server.unlisted:
                entries.append({"rfilename": name, "size": len(content), "blobId": git, "lfs": lfs})
        return entries

    def file(self, name: str, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        if self.command == "GET":
            self.server.gets.append((name, self.headers.get("Range")))
            if name == self.server.breaking and start:
                return self.send_error(500)
        digest = hashlib.sha256(content).hexdigest()
        self.reply(content[start:], digest, 206 if start else 200, name == self.server.breaking, len(content))

    def reply(
        self, body: bytes, digest: str = "0", status: int = 200, cut: bool = False, total: int | None = None
    ) -> None:
        self.send_response(status)
        for header in (("Content-Length", str(len(body))), ("ETag", f'"{digest}"'), ("X-Repo-Commit", COMMIT)):
            self.send_header(*header)
        if status == 206:
            self.send_header("Content-Range", f"bytes {(total or 0) - len(body)}-{(total or 1) - 1}/{total}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut and self.command == "GET":
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model in two shards."""
    folder = make_model(tmp_path_factory.mktemp("remote") / "model", shards=2)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def hub(model: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(dict(model))
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield server
    server.shutdown()
    server.server_close()


def prepare(out: Path, notes: list[tuple[int, int, str]] | None = None) -> BaseCard:
    out.mkdir(exist_ok=True)
    options = HubBase.Options(repository="owner/model", allow_untested=True)
    listen = (lambda done, total, note="": notes.append((done, total, note))) if notes is not None else None
    return HubBase(options).prepare([], out, 1, listen or (lambda done, total, note="": None))


def whole(out: Path, model: dict[str, bytes]) -> bool:
    return all((out / name).is_file() and (out / name).read_bytes() == content for name, content in model.items())


def test_the_commit_that_was_downloaded_is_noted(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    notes: list[tuple[int, int, str]] = []
    card = prepare(tmp_path / "out", notes)
    assert card.notes["revision"] == COMMIT and whole(tmp_path / "out", model)
    assert not [file.name for file in (tmp_path / "out").iterdir() if file.name not in model]
    assert any(note.startswith("MB, model") and total >= 1 for _, total, note in notes)


def test_a_download_that_broke_off_is_no_base_and_goes_on(hub: Hub, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.breaking = SHARD
    with pytest.raises(Transient, match="are kept, and the next run resumes there"):
        prepare(tmp_path / "out")
    assert not whole(tmp_path / "out", model)
    hub.breaking, before = None, len(hub.gets)
    prepare(tmp_path / "out")
    assert whole(tmp_path / "out", model)
    resumed = hub.gets[before:]
    assert [name for name, _ in resumed] == [SHARD] and resumed[0][1] == f"bytes={len(model[SHARD]) // 2}-"


@pytest.mark.parametrize("left", [("config.json",), ("config.json", "model-00001-of-00002.safetensors"), ()])
def test_without_a_connection_nothing_counts_as_finished(
    left: tuple[str, ...], model: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "out").mkdir()
    for name in left:
        (tmp_path / "out" / name).write_bytes(model[name])
    with pytest.raises(Transient, match=r"could not be downloaded.*Run again with a connection"):
        prepare(tmp_path / "out")


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"\0"])
def test_a_file_that_is_not_as_the_hub_says_is_fetched_again(
    damage: object, hub: Hub, model: dict[str, bytes], tmp_path: Path
) -> None:
    prepare(tmp_path / "out")
    (tmp_path / "out" / SHARD).write_bytes(damage(model[SHARD]))  # type: ignore[operator]
    before = len(hub.gets)
    prepare(tmp_path / "out")
    assert whole(tmp_path / "out", model) and [name for name, _ in hub.gets[before:]] == [SHARD]


def test_a_repository_that_lacks_a_shard_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.unlisted.add(SHARD)
    with pytest.raises(ConfigError, match=f"lacks {SHARD}, which its index names"):
        prepare(tmp_path / "out")


def test_what_cannot_be_tuned_is_refused_before_its_weights_come(hub: Hub, tmp_path: Path) -> None:
    config = json.loads(hub.files["config.json"]) | {"quantization_config": {"quant_method": "gptq"}}
    hub.files["config.json"] = json.dumps(config).encode()
    with pytest.raises(ConfigError, match="GPTQ, which MLX does not tune"):
        prepare(tmp_path / "out")
    assert not any(name.endswith(".safetensors") for name, _ in hub.gets)


def test_only_files_that_a_model_needs_are_wanted() -> None:
    names = ("config.json", "model.safetensors", "onnx/model.onnx", "consolidated.safetensors", "pytorch_model.bin")
    assert [name for name in names if hub_download.wanted(name)] == ["config.json", "model.safetensors"]
