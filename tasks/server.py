"""Whether the Prefect server that somebody chose answers, and the temporary one of a run where nobody did."""

import atexit
import importlib.util
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from understudy.errors import ConfigError

ANSWER_SECONDS = 7.0


def answers(api: str) -> str | None:
    """None when a Prefect server answers at `api`, else what happened instead, within ten seconds."""
    try:
        with opened(urllib.request.Request(f"{api.rstrip('/')}/health"), ANSWER_SECONDS) as reply:
            return None if reply.read(10).strip() == b"true" else "something answers that is no Prefect server"
    except urllib.error.HTTPError as error:
        return None if error.code in (401, 403) else f"it answers {error.code}, so it is no Prefect server"
    except (OSError, ValueError) as error:
        return f"nothing answers there ({getattr(error, 'reason', error)})"


def opened(request: urllib.request.Request, seconds: float) -> Any:
    """The answer to a request, which passes no proxy on its way to this machine. Raises OSError."""
    local = (urlsplit(request.full_url).hostname or "") in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
    return opener.open(request, timeout=seconds)


def check() -> None:
    """Raises ConfigError when PREFECT_API_URL, or a profile of Prefect's, names a server that does not answer."""
    from prefect.settings import PREFECT_API_URL  # what it says now; the rest of this file is for those without Prefect

    api = PREFECT_API_URL.value()
    if api and (problem := answers(api)):
        raise ConfigError(
            [
                f"PREFECT_API_URL is {api!r}, and {problem}; start that server (make ui), or unset PREFECT_API_URL "
                "and the profile that sets it: a run needs no server"
            ]
        )


def start_temporary() -> None:
    """Start the temporary server of this run, once, unless a server is chosen. Raises ConfigError, with the reason.

    Prefect would start one by itself, and start it again without end where it cannot start.
    """
    from prefect.server.api.server import SubprocessASGIServer  # no public way to the temporary server
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

    server, home = SubprocessASGIServer(), PREFECT_HOME.value()
    if PREFECT_API_URL.value() or server.running:
        return
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # the database holds every log line
    if problem := database_problem(home / "prefect.db"):
        raise ConfigError([problem])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.port = probe.getsockname()[1]
    log, seconds = home / "server.log", PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    server.server_process = _uvicorn(server.port, log)
    server.running = True
    atexit.register(server.stop)
    end = time.monotonic() + seconds
    while answers(server.api_url):
        ended = server.server_process.poll() is not None
        if ended or time.monotonic() > end:
            server.stop()
            why = last_line(log) if ended else f"it did not answer within {seconds:.0f} s"
            raise ConfigError([f"Prefect's temporary server did not start ({why}); its files are in {home}, see {log}"])
        time.sleep(0.05)


def _uvicorn(port: int, log: Path) -> subprocess.Popen[bytes]:
    """The temporary server as Prefect starts it, but for what it says, which goes to a file."""
    import prefect
    from prefect.settings import get_current_settings

    ours = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    command = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", str(prefect.__module_path__.parent)),
        *("--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "error", "--lifespan", "on"),
    ]
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    with log.open("wb") as out:
        return subprocess.Popen(command, env={**os.environ, **ours, **settings}, stdout=out, stderr=out)


def database_problem(file: Path) -> str | None:
    """Why Prefect cannot use its SQLite file, without starting it; None when nothing is seen, or none is there."""
    if not file.exists():
        return None
    if not file.is_file():
        return f"{file} is no file, so Prefect cannot start; move it away"
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        return f"{file} cannot be written, so Prefect cannot start; make it writable, or move it away"
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:  # new and still empty, or in use
        return None
    except sqlite3.DatabaseError as error:
        return f"{file} is no database that Prefect can use ({error}); move it away (it holds the history of runs only)"
    if all(any(_migrations().glob(f"*_{revision}_*.py")) for (revision,) in rows):
        return None
    return (
        f"{file} was written by another version of Prefect, so its server does not start; move that file away (it "
        "holds the history of runs, no talk and no model), then run it again"
    )


def last_line(log: Path) -> str:
    """The last error in the log of a process, or else its last line."""
    lines = [line.strip()[:200] for line in log.read_text(encoding="utf-8", errors="replace")[-20_000:].splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return next(reversed(errors or list(filter(None, lines))), "it wrote nothing")


def _migrations() -> Path:
    """Prefect's folder of migrations, found without importing Prefect's server."""
    spec = importlib.util.find_spec("prefect")
    assert spec and spec.origin
    return Path(spec.origin).parent / "server/database/_migrations/versions/sqlite"
