"""
`python -m tests.browser.screenshots`: pictures of what Prefect's pages show of a run, in docs/images.

The run is a real one: everything is deployed into a temporary folder, sync-channel is started on the sample
channel as its schedule would, the pictures are taken, and all of it is removed again. Needs Chromium.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser import devtools
from understudy import cli

FOLDER = Path("docs/images")
CHANNEL = "sample"
WIDTH = 1200
MOST_BYTES = 300_000
RUN_SECONDS = 1800.0
DONE = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures; returns the exit status."""
    p = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=(__doc__ or "").strip())
    p.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="where they go (default: docs/images)")
    p.add_argument("--api", metavar="URL", help="of a server that has a run of the sample channel to show")
    args = p.parse_args(arguments)
    out: Path = args.out.resolve()
    if args.out.is_file():
        print(f"--out {str(args.out)!r} is a file, where a folder is needed", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    try:
        return _pictures(args.api.rstrip("/"), out) if args.api else _deployed(out)
    except (devtools.NoBrowser, OSError, LookupError) as error:
        print(f"No picture was taken: {error}", file=sys.stderr)
        return 2


def _deployed(out: Path) -> int:
    os.environ.pop("PREFECT_API_URL", None)  # a server of its own, so that nothing else is on the pictures
    with tempfile.TemporaryDirectory(prefix="understudy-", ignore_cleanup_errors=True) as folder:
        port = _free_port()
        try:
            if status := cli.main(["deploy", "--preset", "tiny", "--home", folder, "--port", str(port)]):
                return status
            api = f"http://127.0.0.1:{port}/api"
            deployment = _call(api, f"deployments/name/sync-channel/sync-channel-{CHANNEL}")
            run = _call(api, f"deployments/{deployment['id']}/create_flow_run", {})["id"]
            _wait(api, run)
            return _pictures(api, out)
        finally:
            cli.main(["undeploy", "--home", folder])


def _wait(api: str, run: str) -> None:
    """Wait until the run is over. Raises LookupError unless it went well."""
    end = time.monotonic() + RUN_SECONDS
    while (state := _call(api, f"flow_runs/{run}")["state"])["type"] not in DONE:
        if time.monotonic() > end:
            raise LookupError(f"the run was not over after {RUN_SECONDS:.0f} s, it is {state['name']}")
        time.sleep(2)
    if state["type"] != "COMPLETED":
        raise LookupError(f"the run is {state['name']}: {state['message']}")


def _pictures(api: str, out: Path) -> int:
    """Every picture of the last run that went well."""
    ended_well = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    run = _newest(api, "flow_runs", {"flows": {"name": {"any_": ["sync-channel"]}}} | ended_well)
    page = api.removesuffix("/api")
    deployment = run["deployment_id"]
    report, curve, champion = (
        _newest(api, "artifacts", {"artifacts": {"key": {"any_": [f"{CHANNEL}-{what}"]}}})["id"]
        for what in ("report", "loss-curve", "champion")
    )
    shots: dict[str, tuple[str, str, int, Callable[[devtools.Tab], None]]] = {
        "deployments": ("deployments", "sync-channel", 620, _as_it_is),
        "run": (f"runs/flow-run/{run['id']}", run["name"], 900, _as_it_is),
        "artifacts": (f"runs/flow-run/{run['id']}", run["name"], 1000, _artifacts),
        "parameters": (f"deployments/deployment/{deployment}/run", "Parameters", 1000, _form),
        "loss-curve": (f"artifacts/artifact/{curve}", f"{CHANNEL}-loss-curve", 900, _as_it_is),
        "report": (f"artifacts/artifact/{report}", f"{CHANNEL}-report", 900, _as_it_is),
        "champion": (f"artifacts/artifact/{champion}", f"{CHANNEL}-champion", 760, _as_it_is),
    }
    with devtools.tab(WIDTH, devtools.Tab) as tab:
        for name, (path, shows, height, ready) in shots.items():
            tab.tall(height)
            tab.open(f"{page}/{path}", shows)
            ready(tab)
            tab.picture(out / f"prefect-{name}.png")
    big = [file.name for file in sorted(out.glob("prefect-*.png")) if file.stat().st_size > MOST_BYTES]
    print(f"{len(shots)} pictures in {out}" + (f"; over {MOST_BYTES // 1000} KB: {', '.join(big)}" if big else ""))
    return 1 if big else 0


def _as_it_is(tab: devtools.Tab) -> None:
    """Nothing is left to do."""


def _artifacts(tab: devtools.Tab) -> None:
    """The tab with what the run shows."""
    leaf = "e => !e.children.length && e.textContent.trim().startsWith('Artifacts')"
    tab.until(
        f"[...document.querySelectorAll('*')].find({leaf})?.click() || document.body.innerText.includes('report')"
    )


def _form(tab: devtools.Tab) -> None:
    """The part of the form with the preset."""
    script = "[...document.querySelectorAll('*')].find(e => !e.children.length && e.textContent.trim() == 'Parameters')"
    tab.value(f"{script}?.scrollIntoView()")


def _newest(api: str, kind: str, which: dict[str, Any]) -> dict[str, Any]:
    order = "START_TIME_DESC" if kind == "flow_runs" else "CREATED_DESC"
    matches = _call(api, f"{kind}/filter", which | {"sort": order, "limit": 1})
    if not matches:
        raise LookupError(f"there are no {kind} of the sample channel on {api}; run sync-channel there first")
    return dict(matches[0])


def _call(api: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}/{path}", data=data, headers={"content-type": "application/json"})
    for pause in (1, 2, 4, 8, 16, 0):  # a loaded server says that its database is busy
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or not pause:
                raise
        time.sleep(pause)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
