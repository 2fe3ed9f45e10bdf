"""From nothing to a schedule's first finished run: what `make deploy` does, on the sample channel, every minute."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 900.0


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about four minutes."""
    with tempfile.TemporaryDirectory(prefix="understudy-schedule-", ignore_cleanup_errors=True) as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        began = time.perf_counter()
        try:
            _understudy("deploy", "--home", folder, "--port", str(port), "--cron", "* * * * *")
            deployed = time.perf_counter() - began
            run = _first(f"http://127.0.0.1:{port}/api", began + MOST_SECONDS)
            yield Figure("deploy_seconds", deployed)
            yield Figure("deploy_to_first_scheduled_run_seconds", time.perf_counter() - began, "<=", 300)
            yield Figure("seconds_of_that_run", run["total_run_time"])
            yield Figure("champions", len(list(Path(folder).glob("models/sample/champion/adapter"))), "=", 1)
        finally:
            _understudy("undeploy", "--home", folder)


def _first(api: str, end: float) -> dict[str, Any]:
    """The first run that its schedule began and that ended well."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}, "sort": "START_TIME_ASC"}
    while time.perf_counter() < end:
        request = urllib.request.Request(
            f"{api}/flow_runs/filter", json.dumps(wanted).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            runs = [run for run in json.load(reply) if run["auto_scheduled"]]
        if runs:
            if runs[0]["state_type"] != "COMPLETED":
                raise SystemExit(f"the first scheduled run {runs[0]['state']}")
            return dict(runs[0])
        time.sleep(1)
    raise SystemExit(f"no scheduled run ended within {MOST_SECONDS:.0f} s")


def _understudy(*arguments: str) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    command = [sys.executable, "-m", "understudy", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
