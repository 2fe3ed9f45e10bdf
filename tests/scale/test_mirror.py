"""A channel copied to a folder, and to an S3 of this machine, and back: whole, manifests last, nothing twice."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from understudy import mirror, store
from understudy.errors import AssetError, Busy, ConfigError
from understudy.ledger import Ledger, Row
from understudy.locks import held
from understudy.records import Entry

ENTRY = Entry(document_id="a", title="A", locator="a.txt", revision="1")


def channel(home: Path) -> Path:
    """A file asset, a folder asset, a ledger and a loose file."""
    data, rows = store.encode("document.json", [ENTRY])
    store.write_file(home, "document", "data/tea/documents/a/document.json", data, rows, "f1")

    def make(folder: Path) -> Entry:
        (folder / "weights.bin").write_bytes(b"w" * 5000)
        return ENTRY

    store.build_folder(home, "adapter", "models/tea/run/adapter/", make, "f2")
    Ledger(home / "data/tea/ledger.sqlite").record(Row("a", "A", "a.txt", "1", "ok"))
    (home / "data/tea/decisions.jsonl").write_text("{}\n")
    return home


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/there"
        return
    pytest.importorskip("s3fs", reason="s3fs is an extra")
    server = pytest.importorskip("moto.server", reason="an S3 of this machine: pip install 'moto[server]'")
    for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    running = server.ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/understudy"
    running.stop()


def digests(home: Path) -> dict[str, str]:
    files = (f for top in ("data", "models") for f in (home / top).rglob("*"))
    return {
        f.relative_to(home).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file() and not f.name.endswith((".lock", "-wal", "-shm", ".sqlite"))
    }


def test_what_was_pushed_is_pulled_whole_and_nothing_is_copied_twice(url: str, tmp_path: Path) -> None:
    home, other = channel(tmp_path / "home"), tmp_path / "other"
    assert mirror.push(home, "tea", url).files == 7
    assert mirror.push(home, "tea", url).files == 0
    assert mirror.pull(other, "tea", url).files == 7
    assert digests(other) == digests(home)
    assert store.fresh(other, "models/tea/run/adapter/", "f2") and mirror.pull(other, "tea", url).files == 0
    assert Ledger(other / "data/tea/ledger.sqlite").rows() == Ledger(home / "data/tea/ledger.sqlite").rows()
    store.write_file(home, "document", "data/tea/documents/a/document.json", b"{}", 1, "f3")
    assert mirror.push(home, "tea", url).files == 2
    assert mirror.pull(other, "tea", url).files == 2 and digests(other) == digests(home)


class Breaks:
    """A target that breaks off at its `last`-th write."""

    def __init__(self, inner: mirror.Remote, last: int) -> None:
        self.inner, self.left = inner, last
        self.read, self.drop = inner.read, inner.drop

    def write(self, name: str, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("gone")
        self.inner.write(name, data)


@pytest.mark.parametrize("last", range(7))
def test_a_push_that_breaks_off_leaves_no_manifest_without_its_asset(
    tmp_path: Path, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, url = channel(tmp_path / "home"), f"file://{tmp_path}/there"
    whole: Callable[[str], mirror.Remote] = mirror._filesystem
    monkeypatch.setattr(mirror, "_filesystem", lambda url: Breaks(whole(url), last))
    with pytest.raises(AssetError, match="the same command goes on from there"):
        mirror.push(home, "tea", url)
    monkeypatch.undo()
    for manifest in (tmp_path / "there").rglob(f"*{store.MANIFEST}"):
        told = store.Manifest.model_validate_json(manifest.read_bytes())
        assert store.fresh(tmp_path / "there", told.asset.path, told.fingerprint)
    mirror.push(home, "tea", url)
    mirror.pull(tmp_path / "other", "tea", url)
    assert digests(tmp_path / "other") == digests(home)


def test_a_file_that_is_not_what_its_manifest_says_is_not_copied(tmp_path: Path) -> None:
    home = channel(tmp_path / "home")
    (home / "data/tea/documents/a/document.json").write_text("changed")
    with pytest.raises(AssetError, match="not what its manifest says"):
        mirror.push(home, "tea", f"file://{tmp_path}/there")


def test_bad_addresses_and_a_channel_at_work_are_said(tmp_path: Path) -> None:
    home = channel(tmp_path / "home")
    with pytest.raises(ConfigError, match="nothing of 'tea'"):
        mirror.pull(home, "tea", f"file://{tmp_path}/nowhere")
    with pytest.raises(ConfigError, match="'foo://x' cannot be used"):
        mirror.push(home, "tea", "foo://x")
    with held(home / "data/tea/.lock", "data/tea"):
        import subprocess
        import sys

        program = (
            f"from understudy import mirror; from pathlib import Path; mirror.push(Path({str(home)!r}), 'tea', 'x')"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert Busy.__name__ in done.stderr and "in use by process" in done.stderr
