"""
A compressed year of a deployment: short nights on a real server and worker, with what happens to a machine in a year.

UNDERSTUDY_YEAR_NIGHTS (30) real nights, a new talk before each; among them a sleep of 100 s in the middle of a run, a
power cut, another proxy, an upgrade, a full disk (each write of the run fails) and a lost worker. The clock changes of
spring and autumn and the age of old runs are simulated: 365 nights by Prefect's own schedule, and runs made a hundred
days old in the database. Linux only; about ten minutes.
"""

import contextlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from understudy.deployments import nights, processes

from benchmarks.figures import Figure
from benchmarks.teacher import talk
from tests.fixtures.teacher_faults import Plan
from tests.fixtures.teacher_server import TeacherServer
from understudy import store
from understudy.catalog import CATALOG

ROOT = Path(__file__).resolve().parents[1]
NIGHTS = int(os.environ.get("UNDERSTUDY_YEAR_NIGHTS", "30"))
FIRST_TALKS, SLEEP_SECONDS, MOST_SECONDS = 6, 100.0, 300.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
ZONE = "Europe/Berlin"


class Year:
    """A deployment in a folder of its own, and what is done to it."""

    def __init__(self, folder: Path, teacher: str, webhook: str) -> None:
        self.folder, self.home, self.talks = folder, folder / "home", folder / "talks"
        self.state = processes.folder(self.home)
        self.talks.mkdir()
        self.more: dict[str, str] = {}
        settings = {
            "name": "year",
            "permission": "owned",
            "source": {"use": "documents", "path": "talks"},
            "teacher": {"use": "openai", "model": "gpt-5-mini", "base_url": teacher},
            "gates": [{"use": "length", "min_words": 5}],
            "questions": {"at_most": 3},
            "sync": {"min_new_pairs": 1_000_000},
            # The first night trains, since there is no model yet: as little of it as there can be.
            "base": {"use": "scratch", "steps": 5},
            "trainer": {"use": "mlx_lora"},
            "export": {"use": "gguf", "types": []},
            "evaluate": {"questions": 2, "suites": False},
        }
        (folder / "year.yaml").write_text(yaml.safe_dump(settings))
        with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
            port = probe.server_address[1]
        self.understudy("deploy", "--preset", "year.yaml", "--home", str(self.home), "--port", str(port),
                        "--notify", webhook, "--timezone", ZONE)  # fmt: skip

    def understudy(self, *arguments: str) -> None:
        """Run a verb as its user does. Raises SystemExit with what it wrote when it fails."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        ours = {"XDG_STATE_HOME": str(self.folder / "state"), "OPENAI_API_KEY": "none", "PYTHONPATH": str(ROOT),
                "UNDERSTUDY_WATCH_SECONDS": "5", "PREFECT_WORKER_QUERY_SECONDS": "2"}  # fmt: skip
        command = [sys.executable, "-m", "understudy", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=clean | ours | self.more, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])

    @property
    def running(self) -> processes.Running:
        """What is deployed now."""
        return processes.load(self.state)

    def add_talk(self, number: int) -> None:
        """One more talk for the next night."""
        document = talk(number)
        (self.talks / f"talk-{number:03}.txt").write_text("\n\n".join(part.text for part in document.paragraphs))

    def begin_night(self) -> str:
        """Bring the next night forward to now."""
        wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_ASC"}
        until(lambda: self.call("POST", "flow_runs/filter", wanted))
        run = str(self.call("POST", "flow_runs/filter", wanted)[0]["id"])
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
        self.call("POST", f"flow_runs/{run}/set_state", {"state": state, "force": True})
        return run

    def begun(self, run: str) -> None:
        """Wait until a run works, with its channel locked."""
        until(lambda: self.state_of(run) == "RUNNING" and (self.home / "data/year/.lock").read_text().strip())

    def state_of(self, run: str) -> str:
        """The type of a run's state."""
        return str(self.call("GET", f"flow_runs/{run}")["state"]["type"])

    def end(self, run: str) -> str:
        """Wait for the end of a run; returns the type of its state."""
        until(lambda: self.state_of(run) in ENDED)
        return self.state_of(run)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers, once it does."""
        end = time.monotonic() + MOST_SECONDS
        while True:
            try:
                return nights.call(self.running.api, method, path, body)
            except nights.NoAnswer:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def family(self) -> list[int]:
        """Every process of the deployment."""
        running = self.running
        roots = {one.pid for one in (running.server, running.worker, running.watch) if one}
        pairs = [line.split() for line in subprocess.check_output(["ps", "-eo", "pid=,ppid="], text=True).splitlines()]
        while more := {int(pid) for pid, parent in pairs if int(parent) in roots} - roots:
            roots |= more
        return sorted(roots)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def sleep(year: Year) -> str:
    """The machine sleeps in the middle of a run."""
    run = year.begin_night()
    year.begun(run)
    year.send(signal.SIGSTOP)
    time.sleep(SLEEP_SECONDS)
    year.send(signal.SIGCONT)
    return year.end(run)


def power_cut(year: Year) -> str:
    """Everything is gone in the middle of a run, and is deployed again at login."""
    run = year.begin_night()
    year.begun(run)
    year.send(signal.SIGKILL)
    year.understudy("deploy")
    return year.end(run)


def another_proxy(year: Year) -> str:
    """A proxy that does not answer, for everything but this machine."""
    year.more = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    year.understudy("deploy")
    return year.end(year.begin_night())


def upgrade(year: Year) -> str:
    """Server and worker were started by another version of Prefect."""
    running = year.running
    for process in (running.server, running.worker):
        assert process
        process.made_with["prefect"] = "3.0.0"
    processes.save(year.state, running)
    year.understudy("deploy")
    assert year.running.server != running.server and year.running.worker != running.worker
    return year.end(year.begin_night())


def full_disk(year: Year) -> str:
    """No file of a run can grow while it works."""
    worker = year.running.worker
    assert worker
    limit = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        return year.end(year.begin_night())
    finally:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limit)


def lost_worker(year: Year) -> str:
    """The worker is killed in the middle of a run."""
    run, worker = year.begin_night(), year.running.worker
    assert worker
    year.begun(run)
    os.kill(worker.pid, signal.SIGKILL)
    return year.end(run)


EVENTS: dict[int, Callable[[Year], str]] = {
    2: sleep, 4: power_cut, 6: another_proxy, 8: upgrade, 10: full_disk, 12: lost_worker,
}  # fmt: skip


def figures() -> Iterator[Figure]:
    """Every figure of the group."""
    if sys.platform != "linux":
        print("The year needs Linux: it stops processes and limits their files", file=sys.stderr)
        return
    posted: list[str] = []
    plan = Plan(words=30, latency=0.3)
    temporary = tempfile.TemporaryDirectory(prefix="understudy-year-", ignore_cleanup_errors=True)
    with temporary as folder, TeacherServer(plan) as teacher, _webhook(posted) as webhook:
        year = Year(Path(folder), teacher.url, webhook)
        try:
            yield from _nights(year, posted)
            yield Figure("talks_paid_twice", teacher.account.good_paid_twice, "=", 0)
            yield from _dataset(year)
            yield from _growth(year)
        finally:
            year.send(signal.SIGCONT)
            year.understudy("undeploy")
    yield from _clock_changes()


def _nights(year: Year, posted: list[str]) -> Iterator[Figure]:
    states, sizes, began = [], [], time.perf_counter()
    for number in range(FIRST_TALKS):
        year.add_talk(number)
    for night in range(NIGHTS):
        year.add_talk(FIRST_TALKS + night)
        event, heard = EVENTS.get(night), len(posted)
        states.append(event(year) if event else year.end(year.begin_night()))
        if states[-1] != "COMPLETED":
            until(lambda heard=heard: len(posted) > heard)  # type: ignore[misc]  # every lost night is heard of
        worker = year.running.worker
        sizes.append(processes.memory_bytes(worker.pid) or 0 if worker else 0)
        what = event.__name__ if event else "quiet"
        print(f"night {night + 1}: {what}, {states[-1]}, worker {sizes[-1] / 1e6:.0f} MB", file=sys.stderr)
    names = {event.__name__: states[night] for night, event in EVENTS.items() if night < NIGHTS}
    quiet = sizes[max(EVENTS) + 2 :]
    counts = Counter(states)
    yield Figure("real_nights", NIGHTS)
    yield Figure("seconds_per_night", (time.perf_counter() - began) / NIGHTS)
    yield Figure("nights_completed", counts["COMPLETED"])
    yield Figure("nights_lost_and_told", NIGHTS - counts["COMPLETED"])
    yield Figure("crashed_by_a_sleep", float(names.get("sleep") != "COMPLETED"), "=", 0)
    if len(quiet) > 1:
        yield Figure("worker_memory_growth", quiet[-1] / quiet[0], "<=", 1.1)


def _dataset(year: Year) -> Iterator[Figure]:
    """Every talk is in the dataset, and no question twice."""
    import pandas

    ref = store.latest(year.home, CATALOG["pairs"].path.format(channel="year"))
    assert ref
    pairs = pandas.read_parquet(year.home / ref.path)
    name = "document_id" if "document_id" in pairs else next(c for c in pairs if "document" in c)
    talks = {file.stem for file in year.talks.iterdir()}
    missing = [stem for stem in talks if not any(stem in str(document) for document in set(pairs[name]))]
    yield Figure("talks", len(talks))
    yield Figure("talks_not_in_the_dataset", len(missing), "=", 0)
    yield Figure("pairs_twice", int(pairs.duplicated(subset=[name, "question"]).sum()), "=", 0)


def _growth(year: Year) -> Iterator[Figure]:
    """What a night adds to the database; and whether runs of a hundred days ago go, by the server's own vacuum."""
    database, old = year.state / "prefect.db", f"{(datetime.now(UTC) - timedelta(days=100)):%Y-%m-%d %H:%M:%S}"
    pages = database.stat().st_size + sum(f.stat().st_size for f in year.state.glob("prefect.db-wal"))
    logs = sum(file.stat().st_size for file in year.state.glob("*.log*"))
    per_night = (pages - 1_700_000) / NIGHTS  # a new database has 1.7 MB
    yield Figure("database_mb", pages / 1e6, "<=", 200)
    yield Figure("database_mb_of_90_days_calculated", (1_700_000 + 90 * per_night) / 1e6, "<=", 200)
    yield Figure("logs_mb_of_a_year_calculated", min(logs / NIGHTS * 365, 20e6 * 4) / 1e6, "<=", 200)
    with closing(sqlite3.connect(database, timeout=60)) as db, db:
        db.execute("UPDATE flow_run SET end_time = ? WHERE state_type = 'COMPLETED'", (old,))
    year.more |= {"PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "2"}
    year.understudy("deploy")
    count = "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'"

    def left() -> int:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as db:
            return int(db.execute(count).fetchone()[0])

    with contextlib.suppress(SystemExit):
        until(lambda: left() == 0, 90)
    yield Figure("runs_older_than_90_days_left", left(), "=", 0)


def _clock_changes() -> Iterator[Figure]:
    """365 nights by the schedule that was deployed: one a day, whatever the clock does."""
    from anyio import run
    from prefect.server.schemas.schedules import CronSchedule

    start = datetime(2026, 1, 1, tzinfo=ZoneInfo(ZONE))
    for cron in ("0 3 * * *", "30 2 * * *"):  # the second one is in the hour that is missing in spring, twice in autumn
        schedule = CronSchedule(cron=cron, timezone=ZONE)
        dates: list[datetime] = run(schedule.get_dates, 365, start)
        days = Counter(at.astimezone(ZoneInfo(ZONE)).date() for at in dates)
        expected = {date(2026, 1, 1) + timedelta(days=n) for n in range(365)}
        name = cron.split()[1] + cron.split()[0]
        yield Figure(f"days_without_a_night_at_{name}", len(expected - days.keys()), "=", 0)
        yield Figure(f"days_with_two_nights_at_{name}", sum(n > 1 for n in days.values()), "=", 0)


def until(true: Callable[[], Any], seconds: float = MOST_SECONDS) -> None:
    """Wait for what another process does. Raises SystemExit when it takes too long."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit("it did not happen in time")
        time.sleep(0.2)


@contextlib.contextmanager
def _webhook(posted: list[str]) -> Iterator[str]:
    """The address of a page that keeps what is posted to it."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{page.server_address[1]}"
        page.shutdown()
