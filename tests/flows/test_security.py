"""One whole run with planted keys and hostile talks, in a checkout of its own, watched from outside."""

import ast
import json
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import LEAN_FLAGS, ROOT
from tests.flows.machine import PrefectServer, beyond_loopback, descendants, kill, output_of, started, until
from understudy.config import load
from understudy.errors import ConfigError
from understudy.records import Entry

KEY, KEY_IN_FILE = "planted-in-the-environment-6f1d2c9a", "planted-in-a-file-b7e40d83"
SCRIPT = "<script>alert('talk')</script>"
HOSTILE = (
    "x..%2f..%2fetc passwd.txt",
    "<img src=x onerror=alert(1)>.txt",
    "\u202eevil\u2066 right-to-left.txt",
    "a" * 240 + ".txt",
    "-rf; $(reboot) `id`.txt",
)
SMALL = [
    flag
    for change in ("gates=[{use: length, min_words: 5}]", "questions.at_most=3")
    for flag in ("--set", change)
]  # fmt: skip
SHIPPED = ("flows", "tasks", "understudy", "deployments", "prefect.toml")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are read from /proc, as on Linux")


class Watched(NamedTuple):
    """The folder of one finished run, and what was seen of it from outside."""

    folder: Path
    server: PrefectServer
    outside: set[str]
    paid: int


def hostile_talks(folder: Path) -> Path:
    """Six plain talks; the others have names and titles that want to be more than that."""
    folder.mkdir()
    talks = sorted((ROOT / "deployments/sample_channel").glob("*.vtt"))
    for file in talks[:6]:
        shutil.copy(file, folder)
    words = [" ".join(line for line in f.read_text().splitlines() if "-->" not in line) for f in talks[6:]]
    for name, text in zip(HOSTILE, [*words, *words], strict=False):
        (folder / name).write_text(f"{name}\n\n{text}\n\n{SCRIPT}\n", encoding="utf-8")
    page = f"<html><head><title>&lt;script&gt;alert('talk')&lt;/script&gt; {'t' * 300}</title></head>"
    (folder / "page.html").write_text(f"{page}<body><p>{words[0]}</p></body></html>", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A tiny run, whole, with a teacher whose key is planted, and a server that keeps everything."""
    folder = tmp_path_factory.mktemp("watched")
    checkout, server, outside = folder / "checkout", PrefectServer(folder / "prefect"), set[str]()
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        checkout.mkdir(exist_ok=True)
        copy(ROOT / name, checkout / name)
    (checkout / ".env").write_text(f"TEACHER_KEY={KEY_IN_FILE}\n")
    talks = hostile_talks(folder / "talks")
    with server, TeacherServer(Plan(key=KEY_IN_FILE, words=30)) as teacher:
        option = "{{use: openai, model: gpt-5-mini, concurrency: 8, base_url: '{}', api_key_env: {}}}"
        flags = ["--preset", "documents", "--documents", str(talks), *LEAN_FLAGS, *SMALL]
        environment = server.environment | {"PLANTED": KEY, "HF_TOKEN": KEY}
        # The key in the environment is the wrong one, and this server's answer holds it, as careless gateways' do.
        for name, status in (("PLANTED", 1), ("TEACHER_KEY", 0)):
            which = ["--set", f"teacher={option.format(teacher.url, name)}"]
            process = started(folder / "home", *flags, *which, environment=environment, folder=checkout)
            try:
                while process.poll() is None:
                    tops = [process.pid, server.process.pid if server.process else 0]
                    below = {pid for top in tops for pid, _ in descendants(top)}
                    outside |= beyond_loopback(below | set(tops))
                    time.sleep(0.3)
            finally:
                kill(process)
            assert process.returncode == status, output_of(folder / "home")
        yield Watched(folder, server, outside, teacher.account.paid_calls)


def files(run: Watched) -> list[Path]:
    """Every file the run or the server wrote."""
    tops = (run.folder / "home", run.folder / "prefect", run.folder / "home.out")
    paths = [f for top in tops for f in ([top] if top.is_file() else top.rglob("*")) if f.is_file()]
    assert len(paths) > 50
    return paths


def stored(run: Watched, question: str) -> list[Any]:
    """The first column of what Prefect's database answers."""
    with sqlite3.connect(f"file:{run.folder}/prefect/prefect.db?mode=ro", uri=True) as db:
        return [row[0] for row in db.execute(question)]


def test_a_planted_key_is_in_no_file_log_result_artifact_or_database(run: Watched) -> None:
    assert run.paid > 6, "the key in .env was not used"
    assert "401" in output_of(run.folder / "home"), "the key in the environment was not used"
    assert stored(run, "SELECT count(*) FROM log") > [10] and stored(run, "SELECT count(*) FROM artifact") > [3]
    secrets = [key.encode() for key in (KEY, KEY_IN_FILE)]
    assert not [f for f in files(run) if any(key in f.read_bytes() for key in secrets)]


def test_nothing_listens_or_talks_beyond_this_machine(run: Watched) -> None:
    assert not run.outside


def test_hostile_names_never_become_paths(run: Watched) -> None:
    folders = [f.name for f in (run.folder / "home/data/talks/documents").iterdir()]
    assert len(folders) == 6 + len(HOSTILE) + 1
    for name in folders:
        assert Entry(document_id=name, title="", locator="", revision="").document_id == name
    assert {f.name for f in run.folder.iterdir()} == {"checkout", "home", "home.out", "prefect", "talks"}


@pytest.mark.parametrize(
    "name", ["../up", "a/b", ".hidden", "", "a" * 300, "a\n", "\u202ea", "<script>", "..", "C:\\x"]
)
def test_an_id_that_could_leave_its_folder_is_no_id(name: str) -> None:
    with pytest.raises(ValidationError, match="document_id"):
        Entry(document_id=name, title="", locator="", revision="")


def test_hostile_titles_never_become_markup(run: Watched) -> None:
    pages = [f for f in (run.folder / "home").rglob("*.html") if f.is_file()]
    shown = [f.read_text(encoding="utf-8") for f in pages]
    shown += [json.loads(data) for data in stored(run, "SELECT data FROM artifact WHERE type = 'markdown'")]
    assert len(pages) >= 1 and any("onerror=alert" in page for page in shown)
    for page in shown:
        assert not re.findall(r"(?<!\\)<(?:script>alert|img src=x)", page)


def test_presets_are_data_and_never_code(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text(f"name: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load(tmp_path / "evil.yaml")
    assert not (tmp_path / "made").exists()


def test_no_module_unpickles_evaluates_or_trusts_code_of_a_model() -> None:
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    for top in ("understudy", "tasks", "flows", "deployments"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = {a.name.split(".")[0] for a in node.names} if isinstance(node, ast.Import) else set()
                names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
                assert not names & unsafe, f"{file} imports {names & unsafe}"
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    if called == "yaml.load" and ast.unparse(node.args[1]) == "yaml.BaseLoader":  # makes strings only
                        continue
                    trusted = [k for k in node.keywords if k.arg in ("trust_remote_code", "allow_pickle", "shell")]
                    assert called not in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system"), (
                        f"{file}: {called}"
                    )
                    assert not [k for k in trusted if ast.unparse(k.value) != "False"], f"{file}: {called}"


def test_what_is_read_again_is_no_pickle(run: Watched) -> None:
    ours = [f for f in (run.folder / "home").rglob("*") if f.is_file()]
    cached = list((run.folder / "prefect/storage").glob("understudy-*"))
    assert cached and all(json.loads(f.read_text())["metadata"]["serializer"]["type"] == "json" for f in cached)
    assert not [f for f in ours if f.read_bytes()[:2] in (b"\x80\x03", b"\x80\x04", b"\x80\x05", b"gA")]


def test_telemetry_is_off(run: Watched) -> None:
    logs = [f.read_text(errors="replace") for f in (run.folder / "prefect/server.log", run.folder / "home.out")]
    assert not [text for text in logs if "amplitude" in text or "sens-o-matic" in text]
    assert not (run.folder / "prefect/.sdk_telemetry").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_ui_asks_no_host_but_this_machine(run: Watched, tmp_path: Path) -> None:
    from websockets.sync.client import connect

    flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-port=0"
    blocked = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    browser = subprocess.Popen(
        [str(CHROMIUM), *flags.split(), blocked, f"--user-data-dir={tmp_path}/profile"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        port = tmp_path / "profile/DevToolsActivePort"
        until(lambda: port.exists() and len(port.read_text().splitlines()) == 2)
        number, where = port.read_text().splitlines()
        with connect(f"ws://127.0.0.1:{number}{where}", max_size=None) as tab:
            hosts = visited(tab, [f"http://127.0.0.1:{run.server.port}/{page}" for page in ("runs", "artifacts")])
    finally:
        kill(browser)
    assert hosts == {"127.0.0.1"}


def visited(browser: Any, addresses: list[str]) -> set[str | None]:
    """The hosts that these pages ask for anything, until each has been quiet for two seconds."""
    numbers, hosts = count(1), set[str | None]()

    def ask(method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(numbers)
        about = {"sessionId": session} if session else {}
        browser.send(json.dumps({"id": number, "method": method, "params": params} | about))
        while (message := json.loads(browser.recv(30))).get("id") != number:
            note(message)
        return dict(message["result"])

    def note(event: dict[str, Any]) -> None:
        if event.get("method") in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            url = event["params"].get("request", event["params"])["url"]
            if not url.startswith(("data:", "blob:")):
                hosts.add(urlsplit(url).hostname)

    target = ask("Target.createTarget", url="about:blank")["targetId"]
    tab = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    ask("Network.enable", tab)
    for address in addresses:
        ask("Page.navigate", tab, url=address)
        try:
            while True:
                note(json.loads(browser.recv(2)))
        except TimeoutError:
            continue
    return hosts
