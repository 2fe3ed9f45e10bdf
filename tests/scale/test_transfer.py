"""A channel pushed to a folder, and to an S3 of this machine, and pulled: whole states only, nothing copied twice."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT
from tests.scale import services
from understudy import store
from understudy.catalog import CATALOG, is_asset
from understudy.channel import lease, transfer
from understudy.channel.ledger import Ledger, Row
from understudy.channel.remote import Content, Pointer, Remote
from understudy.config import load
from understudy.errors import AssetError, Busy, ConfigError
from understudy.records import Entry
from understudy.runs import champion

ENTRY = Entry(document_id="a", title="A", locator="a.txt", revision="1")
DOCUMENT = "data/tea/documents/a/document.json"


def channel(home: Path) -> Path:
    """A file asset, a folder asset, a ledger and a loose file."""
    data, rows = store.encode("document.json", [ENTRY])
    store.write_file(home, "document", DOCUMENT, data, rows, "f1")
    adapter(home, "weights.bin", "f2")
    Ledger(home / "data/tea/ledger.sqlite").record(Row("a", "A", "a.txt", "1", "ok"))
    (home / "data/tea/decisions.jsonl").write_text("{}\n")
    return home


def adapter(home: Path, name: str, made_from: str) -> None:
    def make(folder: Path) -> Entry:
        (folder / name).write_bytes(b"w" * 5000)
        return ENTRY

    store.build_folder(home, "adapter", "models/tea/run/adapter/", make, made_from)


def digests(home: Path) -> dict[str, str]:
    files = (f for top in ("data", "models") for f in (home / top).rglob("*"))
    return {
        f.relative_to(home).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file() and not f.name.endswith((".lock", "-wal", "-shm", ".sqlite", transfer.NOTE))
    }


def test_what_was_pushed_is_pulled_whole_and_nothing_is_copied_twice(url: str, tmp_path: Path) -> None:
    home, other = channel(tmp_path / "home"), tmp_path / "other"
    assert transfer.push(home, "tea", url).files == 7
    assert transfer.push(home, "tea", url).files == 0
    assert transfer.pull(other, "tea", url).files == 7
    assert digests(other) == digests(home)
    assert store.fresh(other, "models/tea/run/adapter/", "f2") and transfer.pull(other, "tea", url).files == 0
    assert Ledger(other / "data/tea/ledger.sqlite").rows() == Ledger(home / "data/tea/ledger.sqlite").rows()
    store.write_file(home, "document", DOCUMENT, b"{}", 1, "f3")
    assert transfer.push(home, "tea", url).files == 2
    assert transfer.pull(other, "tea", url).files == 2 and digests(other) == digests(home)


def test_what_was_deleted_on_one_machine_is_deleted_on_the_other_and_kept_nowhere(url: str, tmp_path: Path) -> None:
    home, other = channel(tmp_path / "home"), tmp_path / "other"
    secret = home / "data/tea/imported/b.vtt"
    secret.parent.mkdir()
    secret.write_text("secret")
    transfer.push(home, "tea", url)
    transfer.pull(other, "tea", url)
    (other / "data/tea/mine.txt").write_text("only here")
    secret.unlink()
    adapter(home, "other.bin", "f3")
    transfer.push(home, "tea", url)
    transfer.pull(other, "tea", url)
    assert not (other / "data/tea/imported/b.vtt").exists() and (other / "data/tea/mine.txt").exists()
    assert {f.name for f in (other / "models/tea/run/adapter").glob("*.bin")} == {"other.bin"}
    assert hashlib.sha256(b"secret").hexdigest() not in Remote(url, "tea").contents()


def test_a_database_that_is_open_is_replaced_by_the_pulled_one(url: str, tmp_path: Path) -> None:
    home, other = channel(tmp_path / "home"), channel(tmp_path / "other")
    ledger = Ledger(other / "data/tea/ledger.sqlite")
    ledger.record(Row("b", "B", "b.txt", "1", "ok"))
    transfer.push(home, "tea", url)
    transfer.pull(other, "tea", url)
    assert [row.document_id for row in ledger.rows()] == ["a"]
    ledger.record(Row("c", "C", "c.txt", "1", "ok"))
    assert [row.document_id for row in ledger.rows()] == ["a", "c"]


@pytest.mark.parametrize("step", ["upload", "write_generation", "move", "prune"])
def test_a_push_that_breaks_off_leaves_the_state_before_or_the_new_one(
    url: str, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = channel(tmp_path / "home"), tmp_path / "other"
    transfer.push(home, "tea", url)
    before = digests(home)
    store.write_file(home, "document", DOCUMENT, b"{}", 1, "f3")

    def gone(*_: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(Remote, step, gone)
    with pytest.raises(AssetError, match="the next time continues from there"):
        transfer.push(home, "tea", url)
    monkeypatch.undo()
    transfer.pull(other, "tea", url)
    assert digests(other) == (digests(home) if step == "prune" else before)
    transfer.push(home, "tea", url)
    transfer.pull(other, "tea", url)
    assert digests(other) == digests(home)


def test_a_pull_that_breaks_off_leaves_no_manifest_without_its_asset(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = channel(tmp_path / "home"), tmp_path / "other"
    transfer.push(home, "tea", url)
    transfer.pull(other, "tea", url)
    store.write_file(home, "document", DOCUMENT, b"{}", 1, "f3")
    adapter(home, "other.bin", "f4")
    transfer.push(home, "tea", url)
    for last in range(20):
        left = iter([True] * last)

        def unless_gone(left: Iterator[bool], write: Callable[..., None], source: Path, target: Path) -> None:
            if not next(left, False):
                raise ConnectionError("gone")
            write(source, target)

        monkeypatch.setattr(transfer.os, "replace", partial(unless_gone, left, os.replace))
        try:
            transfer.pull(other, "tea", url)
        except AssetError:
            pass
        else:
            break
        finally:
            monkeypatch.undo()
        for manifest in other.rglob(f"*{store.MANIFEST}"):
            known = store.Manifest.model_validate_json(manifest.read_bytes())
            assert store.fresh(other, known.asset.path, known.fingerprint)
    assert last > 4 and digests(other) == digests(home)


def test_a_file_that_is_not_what_its_manifest_says_is_not_pushed(tmp_path: Path) -> None:
    manifest = f"data/tea/documents/a/.document.json{store.MANIFEST}"
    for name in (DOCUMENT, "models/tea/run/adapter/weights.bin", manifest):
        home = channel(tmp_path / hashlib.sha256(name.encode()).hexdigest())
        (home / name).write_text("changed")
        with pytest.raises(AssetError, match="not what its manifest says"):
            transfer.push(home, "tea", f"file://{tmp_path}/there")


def test_bad_addresses_and_a_channel_at_work_are_reported(tmp_path: Path) -> None:
    home = channel(tmp_path / "home")
    with pytest.raises(ConfigError, match="nothing of 'tea'"):
        transfer.pull(home, "tea", f"file://{tmp_path}/nowhere")
    with pytest.raises(ConfigError, match="'foo://x' cannot be used"):
        transfer.push(home, "tea", "foo://x")
    with lease.alone(home / "data/tea") as held:
        assert held is None, "without PostgreSQL there is no lease"
        program = "import sys; from understudy.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", program, "--home", str(home), "push", "tea", f"file://{tmp_path}/there"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode and "in use by process" in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "7 files" in done.stdout and "Nothing prevents two machines from pushing at once" in done.stdout


def test_the_champion_comes_along(tmp_path: Path) -> None:
    here, url = channel(tmp_path / "here"), f"file://{tmp_path}/there"
    champion.promote(here / "models/tea", "run", ["better"])
    transfer.push(here, "tea", url)
    transfer.pull(tmp_path / "other", "tea", url)
    champion.restore(tmp_path / "other/models/tea")
    assert champion.current(tmp_path / "other/models/tea") == tmp_path / "other/models/tea/run"


def test_what_is_here_stays_where_a_content_is_broken(url: str, tmp_path: Path) -> None:
    here, other = channel(tmp_path / "here"), tmp_path / "other"
    transfer.push(here, "tea", url)
    transfer.pull(other, "tea", url)
    (other / "models/tea/run/adapter/weights.bin").write_bytes(b"older")
    place = Remote(url, "tea")
    place.files.pipe_file(f"{place.root}/files/{hashlib.sha256(b'w' * 5000).hexdigest()}", b"x" * 5000)
    with pytest.raises(AssetError, match="is broken where it was copied from"):
        transfer.pull(other, "tea", url)
    assert (other / "models/tea/run/adapter/weights.bin").read_bytes() == b"older"
    place.files.pipe_file(f"{place.root}/generations/{place.pointer()[0].generation}.json", b"{}")
    with pytest.raises(AssetError, match="is broken; push the channel again"):
        transfer.pull(other, "tea", url)


@pytest.mark.parametrize(
    "name", ["data/tea/../../etc/passwd", "data/other/documents/a/document.json", "data/tea//x", "/etc/passwd"]
)
def test_a_name_that_leads_out_of_the_channel_stops_a_pull(name: str, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/there"
    place = Remote(url, "tea")
    generation = place.write_generation({name: Content("0" * 64, 1)})
    place.move(Pointer(generation=generation, token=0), None, "")
    with pytest.raises(AssetError, match="which is no file of a channel"):
        transfer.pull(tmp_path / "home", "tea", url)


def test_only_what_the_catalog_knows_is_an_asset() -> None:
    for path in ("data/tea/", "data/tea/x", "models/../x", "data/tea/../x"):
        assert not is_asset(path), path
    for name, asset in CATALOG.items():
        keys = {"channel": "tea", "document": "a", "run": "r", "base": "b", "type": "F16", "candidate": "tuned",
                "format": "alpaca", "trial": "t", "place": "tea/r", "digest": "0a1b"}  # fmt: skip
        assert is_asset(asset.path.format(**keys)), name


@pytest.mark.parametrize("url", ["/mnt/nas", "file://", "sftp://me:secret@host/x", "s3://bucket/[a]"])
def test_an_address_that_can_be_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="remote: ") as refused:
        load(ROOT / "deployments/presets/tiny.yaml", {"remote": url})
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"remote: it needs ledger: postgresql"):
        load(ROOT / "deployments/presets/tiny.yaml", {"remote": "s3://bucket/x"})


def test_of_two_that_push_at_once_only_the_first_moves_the_pointer(url: str, tmp_path: Path) -> None:
    first, second = Remote(url, "tea"), Remote(url, "tea")
    generation = first.write_generation({})
    seen, tag = second.pointer()
    first.move(Pointer(generation=generation, token=1), None, "")
    with pytest.raises(Busy, match="another machine pushed"):
        second.move(Pointer(generation="1" * 64, token=1), seen, tag)
    seen, tag = second.pointer()
    first.move(Pointer(generation="2" * 64, token=2), seen, tag)
    with pytest.raises(Busy, match="another machine pushed"):
        second.move(Pointer(generation="1" * 64, token=2), seen, tag)
    seen, tag = second.pointer()
    with pytest.raises(Busy, match="another machine pushed"):
        second.move(Pointer(generation="1" * 64, token=1), seen, tag)
    assert seen == Pointer(generation="2" * 64, token=2) == first.pointer()[0]


WORK = """
import sys
from pathlib import Path
from understudy.channel import lease, transfer
from understudy.channel.ledger import Ledger

lease.SECONDS = 4.0
home, url, database, word = Path(sys.argv[1]), *sys.argv[2:]
Ledger(home / "data/tea/ledger.sqlite", database)
with lease.alone(home / "data/tea") as held, transfer.synchronised(home, "tea", url, held):
    file = home / "data/tea/decisions.jsonl"
    before = file.read_text() if file.exists() else ""
    print("working", flush=True)
    sys.stdin.readline()
    file.write_text(before + word)
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="psycopg is an extra: pip install 'psycopg[binary]'")
    with services.postgres() as address:
        yield address


class Machine:
    """A process with a home of its own that works on the channel until it is told to finish."""

    def __init__(self, home: Path, url: str, database: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(home), url, database, f"{home.name} "],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def works(self) -> bool:
        assert self.process.stdout
        return self.process.stdout.readline() == "working\n"

    def finish(self) -> str:
        """What it wrote to stderr; empty when all went well."""
        return self.process.communicate("\n")[1]


@services.needs_postgres
def test_two_machines_never_work_on_one_channel_at_once(url: str, database: str, tmp_path: Path) -> None:
    where = f"{url}/{tmp_path.name}", database
    first = Machine(tmp_path / "one", *where)
    assert first.works()
    time.sleep(4.5)  # longer than a lease that is not renewed
    second = Machine(tmp_path / "two", *where)
    assert not second.works() and "Busy: data/tea is in use by process" in second.finish()
    assert first.finish() == ""
    third = Machine(tmp_path / "two", *where)
    assert third.works() and third.finish() == ""
    transfer.pull(tmp_path / "three", "tea", where[0])
    assert (tmp_path / "three/data/tea/decisions.jsonl").read_text() == "one two "


@services.needs_postgres
def test_a_paused_holder_whose_lease_expired_moves_nothing(url: str, database: str, tmp_path: Path) -> None:
    where = f"{url}/{tmp_path.name}", database
    paused = Machine(tmp_path / "one", *where)
    assert paused.works(), paused.finish()
    paused.process.send_signal(signal.SIGSTOP)
    time.sleep(4.5)
    other = Machine(tmp_path / "two", *where)
    assert other.works() and other.finish() == ""
    paused.process.send_signal(signal.SIGCONT)
    assert "the lease of data/tea expired" in paused.finish()
    transfer.pull(tmp_path / "three", "tea", where[0])
    assert (tmp_path / "three/data/tea/decisions.jsonl").read_text() == "two "
    again = Machine(tmp_path / "one", *where)
    assert again.works() and again.finish() == ""
    transfer.pull(tmp_path / "three", "tea", where[0])
    assert (tmp_path / "three/data/tea/decisions.jsonl").read_text() == "two one "


@services.needs_postgres
def test_leases_have_tokens_that_grow(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "grows" / "data" / "grows"
    Ledger(folder / "ledger.sqlite", database)
    leases = []
    for _ in range(3):
        with lease.alone(folder) as held, lease.alone(folder) as inner:
            assert held and inner is held, "a verb inside a run works under the run's lease"
            leases.append(held)
            with held.fenced():
                pass
    assert leases[0].token < leases[1].token < leases[2].token
    with pytest.raises(Busy, match="expired"), leases[1].fenced():
        raise AssertionError("not reached: the token is checked first")


@services.needs_postgres
def test_a_renewal_that_is_late_does_not_take_a_released_lease_again(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "late" / "data" / "late"
    Ledger(folder / "ledger.sqlite", database)
    with lease.alone(folder) as held:
        assert held and held._renewed()
    assert not held._renewed()
    with lease.alone(folder):
        pass


@services.needs_postgres
def test_a_holder_is_told_when_its_lease_is_lost(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lost = tmp_path / "lost" / "data" / "lost", threading.Event()
    Ledger(folder / "ledger.sqlite", database)
    monkeypatch.setattr(lease, "SECONDS", 0.4)
    with lease.alone(folder, lost.set) as held:
        assert held and not lost.wait(1.0), "it is renewed"
        with held._tables.transaction() as execute:
            execute("UPDATE lease SET token = token + 1")
        assert lost.wait(10)
