"""
Watches over what `understudy deploy` started, for months: one small process beside server and worker.

It starts again what ended, marks runs as Crashed whose process is gone, keeps logs and the server's memory in bounds,
and says on the webhook of --notify when nights are silent. It ends when the deployment does. It imports no Prefect, so
that it takes a few megabytes.
"""

import json
import logging
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from understudy.deployments import deploy, nights, processes, server
from understudy.deployments.nights import NoAnswer, call

from understudy import locks
from understudy.errors import UnderstudyError

log = logging.getLogger("understudy.watch")
EVERY_SECONDS = float(os.environ.get("UNDERSTUDY_WATCH_SECONDS", "30"))
SILENT_SECONDS = 900.0
"""After so long without a heartbeat a run is lost of which this machine knows nothing, e.g. one before a power cut."""
OFFLINE_SECONDS = 300.0
LOG_BYTES = 10_000_000
SERVER_BYTES = int(os.environ.get("UNDERSTUDY_SERVER_MB", "1000")) * 1_000_000
FLOWS = ["pipeline", "sync-channel", "build-dataset", "build-model", "score-model"]
WORKING = ["RUNNING", "CANCELLING"]
CRASHED = "Run it again, finished work is kept: its process is gone."


@dataclass
class Watch:
    """What is known from one look to the next. All waits are by a clock that stands still while the machine sleeps."""

    state: Path
    environment: Mapping[str, str]
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    gone: set[str] = field(default_factory=set)
    beats: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Run > its last heartbeat as the server tells it, and when that was new here."""
    offline_since: float | None = None

    def look(self) -> bool:
        """One look at everything; False when nothing is deployed here any more."""
        running = processes.load(self.state)
        if running.watch is None or running.watch.pid != os.getpid():
            return False
        for part in (self.restart, self.lost_runs, self.silent_nights, self.worker_offline, self.growth):
            try:
                part(running)
            except NoAnswer as error:
                log.info("%s", error)
            except (OSError, UnderstudyError, KeyError, ValueError) as error:
                log.warning("%s: %s: %s", part.__name__, type(error).__name__, error)
        return True

    def restart(self, running: processes.Running) -> None:
        """Start server and worker again when they have ended."""
        if running.server and not processes.alive(running.server):
            log.warning("the server has ended, and is started again; see %s", self.state / "server.log")
            server.start(self.state, running, self.environment)
        if running.worker and not processes.alive(running.worker):
            log.warning("the worker has ended, and is started again; see %s", self.state / "worker.log")
            running.worker = deploy.start_worker(self.state, running.pool, self.environment)
            processes.save(self.state, running)

    def lost_runs(self, running: processes.Running) -> None:
        """Mark runs as Crashed whose process is gone: seen twice, since a run may be about to report its end."""
        runs = {str(run["id"]): run for run in _working(running.api)}
        known = {name: locks.is_lost(name) for name in runs}
        gone = {name for name, lost in known.items() if lost}
        alive = any(lost is False for lost in known.values())
        for name, run in runs.items():
            silent = (
                known[name] is None and not (alive and run["parent_task_run_id"]) and self._silent(running.api, name)
            )
            if silent or (name in gone and name in self.gone):
                log.warning("%s is marked as crashed: its process is gone", run["name"])
                state = {"type": "CRASHED", "message": CRASHED}
                call(running.api, "POST", f"flow_runs/{name}/set_state", {"state": state, "force": True})
        self.gone = gone
        self.beats = {name: beat for name, beat in self.beats.items() if name in runs}

    def silent_nights(self, running: processes.Running) -> None:
        """Tell when no sync was completed for long, and when nights were dropped."""
        for channel in running.channels:
            if (known := nights.of(running.api, channel, self.now())) is None:
                continue
            page = running.api.removesuffix("/api")
            silent = (
                f"{channel}: no sync was completed for {nights.SILENT_HOURS} hours; see understudy status and {page}"
            )
            self._tell(running, f"silent/{channel}", silent if known.silent(self.now()) else None)
            dropped = (
                f"{channel}: {len(known.dropped)} nights were dropped since the last sync that was completed, as the "
                "channel was in use or no worker took them"
            )
            self._tell(running, f"dropped/{channel}", dropped if known.dropped else None)

    def worker_offline(self, running: processes.Running) -> None:
        """Tell when the server does not hear of the worker."""
        workers = call(running.api, "POST", f"work_pools/{running.pool}/workers/filter", {})
        online = any(one["status"] == "ONLINE" for one in workers if one["name"] == deploy.worker_name())
        if online or self.offline_since is None:
            self.offline_since = None if online else self.monotonic()
        offline = self.offline_since is not None and self.monotonic() - self.offline_since > OFFLINE_SECONDS
        text = f"the worker of {self.state.parents[1]} is offline, so no night begins; see {self.state / 'worker.log'}"
        self._tell(running, "worker", text if offline else None)

    def growth(self, running: processes.Running) -> None:
        """Keep logs short, and start a server again that has grown, while no run works."""
        for file in self.state.glob("*.log"):
            rotate(file)
        used = processes.memory_bytes(running.server.pid) if running.server else None
        if used and running.server and used > SERVER_BYTES and (used > 2 * SERVER_BYTES or not _working(running.api)):
            log.warning("the server takes %d MB, and is started again", used // 1_000_000)
            processes.stop(running.server)
            server.start(self.state, running, self.environment)

    def _silent(self, api: str, run: str) -> bool:
        """Whether no heartbeat of a run has come for SILENT_SECONDS in which this machine was awake."""
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]},
                  "occurred": {"since": (self.now() - timedelta(days=7)).isoformat()}}  # fmt: skip
        events = call(api, "POST", "events/filter", {"filter": wanted, "limit": 1})["events"]
        last = str(events[0]["occurred"]) if events else ""
        if self.beats.get(run, ("none", 0.0))[0] != last:
            self.beats[run] = last, self.monotonic()
        return self.monotonic() - self.beats[run][1] > SILENT_SECONDS

    def _tell(self, running: processes.Running, what: str, text: str | None) -> None:
        """Say what is wrong once, until it is something else or right again (None), also across restarts."""
        file = self.state / "notices.json"
        notices = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if notices.get(what) == text:
            return
        if text:
            log.warning("%s", text)
            if running.notify:
                post(running.notify, text)
        notices[what] = text
        file.write_text(json.dumps(notices, indent=1) + "\n", encoding="utf-8")


def post(url: str, text: str) -> None:
    """Call the webhook, in the format of Slack, Mattermost and others. Raises OSError: it is tried again."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20):
        pass


def rotate(file: Path, most: int = LOG_BYTES) -> None:
    """Move what a long log holds to FILE.1, in place of what is there; whoever writes to it goes on in it."""
    if file.stat().st_size <= most:
        return
    with file.open("rb") as whole:
        whole.seek(-most, os.SEEK_END)
        file.with_name(f"{file.name}.1").write_bytes(whole.read())
    os.truncate(file, 0)  # it is written in append mode


def _working(api: str) -> list[dict[str, Any]]:
    wanted = {"flows": {"name": {"any_": FLOWS}}, "flow_runs": {"state": {"type": {"any_": WORKING}}}}
    return [dict(run) for run in call(api, "POST", "flow_runs/filter", wanted)]


def main(home: Path) -> None:
    """Look every EVERY_SECONDS until nothing is deployed any more."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    watch = Watch(processes.folder(home), dict(os.environ))
    time.sleep(min(EVERY_SECONDS, 5.0))  # its own record is written now
    while watch.look():
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
