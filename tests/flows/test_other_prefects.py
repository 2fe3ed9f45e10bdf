"""Prefect as other programs left it on a machine: profiles, proxies, databases. A run gets along with all of it."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from understudy.deployments import packaged
from understudy.tasks.server import database_problem

from tests.flows.conftest import ROOT, prefect_home
from tests.flows.machine import output_of, started

PROFILES = """
active = "cloud"
[profiles.cloud]
PREFECT_API_URL = "https://api.example.com/api/accounts/1/workspaces/2"
PREFECT_API_KEY = "none"
[profiles.bare]
PREFECT_LOGGING_LEVEL = "INFO"
"""
SECONDS_TO_SAY = 20


def user(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has a Prefect of another program, and nothing in it that is ours."""
    (folder / ".prefect").mkdir(parents=True)
    (folder / ".prefect/profiles.toml").write_text(PROFILES)
    (folder / ".prefect/prefect.db").write_bytes(b"of an older Prefect")
    others = ("PREFECT", "OPENAI", "HTTP", "http", "no_", "NO_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    return kept | {"HOME": str(folder), "DO_NOT_TRACK": "1"} | more


def newer(file: Path) -> Path:
    """A database of a Prefect that is not installed here."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('0f0f0f0f0f0f')")
    return file


def test_a_run_keeps_prefects_files_for_itself_and_passes_every_proxy(tmp_path: Path) -> None:
    environment = user(tmp_path / "user", http_proxy="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
    files = tmp_path / "user/.prefect"
    before = {file.name: file.read_bytes() for file in files.iterdir()}
    home = tmp_path / "home"
    prefect_home(packaged.prefect_files(home))
    process = started(home, "--preset", "tiny", "--only", "dataset", environment=environment)
    assert process.wait(240) == 0, output_of(home)
    assert "PREFECT_API_URL=https://api.example.com" in output_of(home), "the server of a profile is only named"
    assert {file.name: file.read_bytes() for file in files.iterdir()} == before
    with closing(sqlite3.connect(packaged.prefect_files(home) / "prefect.db")) as database:
        assert database.execute("SELECT count(*) FROM flow_run").fetchone()[0] >= 2


def test_a_profile_that_names_no_server_leaves_a_run_its_temporary_one(tmp_path: Path) -> None:
    environment = user(tmp_path, PREFECT_PROFILE="bare")
    script = (
        "from pathlib import Path; from understudy.deployments import packaged; packaged.configure_prefect("
        f"home=Path({str(tmp_path)!r})); from prefect.settings import get_current_settings as s; import json; "
        "print(json.dumps([s().server.ephemeral.enabled, s().api.url, s().logging.level]))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, None, "INFO"]


def test_a_server_that_cannot_start_is_said_once_with_the_file_in_the_way(tmp_path: Path) -> None:
    """The database of `newer` is seen before the server is started; the address of `lost` only the server tries."""
    (tmp_path / "newer").mkdir()
    newer(tmp_path / "newer/prefect.db")
    lost = f"sqlite+aiosqlite:///{tmp_path}/unplugged/prefect.db"
    for name, more in (("newer", {}), ("lost", {"PREFECT_SERVER_DATABASE_CONNECTION_URL": lost})):
        prefect, home, began = tmp_path / name, tmp_path / f"home-{name}", time.monotonic()
        environment = user(tmp_path / f"user-{name}", PREFECT_HOME=str(prefect), **more)
        assert started(home, "--preset", "tiny", environment=environment, folder=ROOT).wait(120) == 2
        assert name == "lost" or time.monotonic() - began < SECONDS_TO_SAY, output_of(home)
        assert str(prefect) in output_of(home) and "Traceback" not in output_of(home)
    assert "unable to open database file" in output_of(tmp_path / "home-lost")
    assert (tmp_path / "lost/server.log").read_text().count("Application startup failed") == 1


def test_a_database_is_judged_without_starting_a_server(tmp_path: Path) -> None:
    ready = prefect_home(tmp_path / "ready") / "prefect.db"
    assert database_problem(ready) is None and database_problem(tmp_path / "none.db") is None
    assert "another version of Prefect" in str(database_problem(newer(tmp_path / "newer.db")))
    (tmp_path / "torn.db").write_bytes(b"nothing of a database " * 100)
    assert "move it away" in str(database_problem(tmp_path / "torn.db"))
