"""A real server and a real worker, started by `understudy deploy` as a person would, and all of it gone afterwards."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from understudy.deployments import processes, watch
from understudy.tasks.server import answers

from tests.browser import devtools
from tests.flows.conftest import ROOT, prefect_home
from tests.flows.machine import descendants, environ
from understudy import locks

TALKS = sorted((ROOT / "deployments/sample_channel").glob("0*"))[:3]
PRESET = {
    "name": "tea",
    "permission": "owned",
    "teacher": {"use": "extractive"},
    "questions": {"seconds_per_question": 60},
    "base": {"use": "scratch"},
    "trainer": {"use": "mlx_lora", "rank": 4},
}


FLOWS = ("pipeline", "build-dataset", "build-model", "score-model", "sync-channel")
ZONE = ZoneInfo("Asia/Tokyo")
AT = datetime.now(ZONE) + timedelta(hours=12)  # no test of this module runs while its schedule fires
PATIENCE_SECONDS = 600.0  # what a loaded machine is given; nothing here waits longer than it has to


class Deployed:
    """The server as the tests see it: by its API."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.api = f"http://127.0.0.1:{port}/api"
        self.output: list[str] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"{self.api}/{path}", method=method, data=data, headers={"content-type": "application/json"}
        )
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
                    return json.loads(reply.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > end:  # its database is busy, on a loaded machine
                    raise
            time.sleep(1)

    def start(self, deployment: str, config: dict[str, Any] | None = None, **more: Any) -> str:
        """A run of `deployment` with changes to its parameters, as the form of the UI asks for it."""
        target = self.call("GET", f"deployments/name/{deployment}")
        parameters = {"config": target["parameters"]["config"] | (config or {})} | more
        return str(self.call("POST", f"deployments/{target['id']}/create_flow_run", {"parameters": parameters})["id"])

    def night(self, deployment: str) -> str:
        """The next run of a schedule, brought forward to now."""
        target = self.call("GET", f"deployments/name/{deployment}")
        wanted = {
            "deployments": {"id": {"any_": [target["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        until(lambda: self.call("POST", "flow_runs/filter", wanted))
        planned = [run for run in self.call("POST", "flow_runs/filter", wanted) if run["auto_scheduled"]]
        run = min(planned, key=lambda run: run["expected_start_time"])
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
        self.call("POST", f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        return str(run["id"])

    def logs(self, run: str) -> list[str]:
        """The lines a run wrote."""
        lines = self.call("POST", "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        return [str(line["message"]) for line in lines]

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.call("GET", f"flow_runs/{run}")["state"])

    def ended(self, run: str) -> dict[str, Any]:
        done = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        until(lambda: self.state(run)["type"] in done)
        return self.state(run)


def until(true: Callable[[], Any]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def understudy(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PREFECT_API_URL", "PREFECT_HOME")}
    return subprocess.run(
        [sys.executable, "-m", "understudy", *arguments],
        env=clean | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def free_port() -> int:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
        return int(probe.server_address[1])


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A page that keeps what is posted to it."""
    posted: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", posted
        running.shutdown()


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "talks").mkdir()
    for file in TALKS:
        shutil.copy(file, folder / "talks")
    settings = PRESET | {"source": {"use": "documents", "path": "talks"}}
    (folder / "tea.yaml").write_text(yaml.safe_dump(settings))
    return folder / "tea.yaml"


def deploy(preset: Path, *more: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Deploy from the folder of the preset, where its relative paths start."""
    folder = preset.parent
    command = ["deploy", "--home", str(home or folder / "home"), "--preset", str(preset), *more]
    return understudy(*command, folder=folder, **environment)


def state(preset: Path) -> Path:
    return processes.folder(preset.parent / "home")


@pytest.fixture(scope="module")
def deployed(preset: Path, webhook: tuple[str, list[str]]) -> Iterator[Deployed]:
    """Everything `understudy deploy` starts, with a schedule in another time zone than the machine's."""
    deployment = Deployed(preset.parent, free_port())
    prefect_home(state(preset))
    options = ["--port", str(deployment.port), "--timezone", ZONE.key, "--notify", webhook[0]]
    options += ["--cron", f"{AT.minute} {AT.hour} * * *"]
    try:
        done = deploy(preset, *options, TZ="America/New_York", UNDERSTUDY_WATCH_SECONDS="2")
        assert done.returncode == 0, done.stderr
        deployment.output = done.stdout.splitlines()
        yield deployment
    finally:
        running = processes.load(state(preset))
        for process in (running.watch, running.worker, running.server):
            processes.stop(process)


def test_it_says_where_the_page_is_and_how_to_stop(deployed: Deployed) -> None:
    assert deployed.output[0].endswith(f"http://127.0.0.1:{deployed.port}")
    assert "understudy undeploy" in deployed.output[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{deployed.port}/ui-settings", timeout=PATIENCE_SECONDS) as reply:
        assert json.loads(reply.read())["api_url"] == deployed.api, "the page asks its own server"


def test_every_flow_can_be_started_and_no_lease_of_the_server_can_end_a_run(deployed: Deployed) -> None:
    deployments = deployed.call("POST", "deployments/filter", {})
    assert {item["name"] for item in deployments} == {f"{flow}-tea" for flow in FLOWS}
    for item in deployments:
        assert item["global_concurrency_limit"] is None and set(item["tags"]) == {"understudy", "tea"}
    limits = deployed.call("POST", "v2/concurrency_limits/filter", {})
    assert {"teacher", "youtube"} <= {limit["name"] for limit in limits}


def test_the_form_explains_what_it_asks_for(deployed: Deployed) -> None:
    schema = deployed.call("GET", "deployments/name/pipeline/pipeline-tea")["parameter_openapi_schema"]
    assert schema["properties"]["home"]["description"].startswith("The folder of data/")
    first = min(schema["properties"].items(), key=lambda item: item[1]["position"])
    assert first[0] == "change" and first[1]["description"].startswith("What people change most")
    changes = schema["definitions"]["Changes"]["properties"]
    assert {"documents", "channel", "base", "learning_rate"} <= set(changes)
    assert {change["type"] for change in changes.values()} == {"string", "number", "integer"}, "one field each"
    split = schema["definitions"]["SplitSettings"]["properties"]["min_documents"]
    assert split["description"].startswith("least number of talks in valid and in test")
    sync = deployed.call("GET", "deployments/name/sync-channel/sync-channel-tea")["parameter_openapi_schema"]
    assert sync["properties"]["retrain"]["type"] == "boolean"


def test_the_schedule_is_in_its_own_time_zone(deployed: Deployed) -> None:
    nightly = deployed.call("GET", "deployments/name/sync-channel/sync-channel-tea")
    scheduled = {"deployments": {"id": {"any_": [nightly["id"]]}}, "limit": 3}
    until(lambda: deployed.call("POST", "flow_runs/filter", scheduled))
    for run in deployed.call("POST", "flow_runs/filter", scheduled):
        at = datetime.fromisoformat(run["expected_start_time"]).astimezone(ZONE)
        assert (at.hour, at.minute) == (AT.hour, AT.minute)


def test_a_value_that_cannot_be_is_refused_before_there_is_a_run(deployed: Deployed) -> None:
    for wrong, place in (({"seed": -1}, "config.seed"), ({"sede": 1}, "sede")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            deployed.start("pipeline/pipeline-tea", wrong)
        assert refused.value.code == 409 and place in refused.value.read().decode()


def test_runs_take_changed_values_and_a_failed_one_calls_the_webhook(
    deployed: Deployed, preset: Path, webhook: tuple[str, list[str]]
) -> None:
    """Four runs at once: the preset is gone by then, one has a channel of its own, one a folder that is not there.

    The channel of the others is in use: the night ends without an alarm, and what was asked for waits.
    """
    kept = preset.read_text()
    preset.unlink()
    try:
        with locks.held(preset.parent / "home/data/tea/.lock", "data/tea"):
            changed = deployed.start("pipeline/build-dataset-tea", {"name": "changed"}, change={"questions": 2})
            failed = deployed.start("sync-channel/sync-channel-tea", change={"documents": "nowhere"})
            waits, night = deployed.start("pipeline/build-dataset-tea"), deployed.night("sync-channel/sync-channel-tea")
            assert deployed.ended(failed)["type"] == "FAILED"
            busy = deployed.ended(night)
            until(lambda: any("; waiting" in line for line in deployed.logs(waits)))
            assert deployed.state(waits)["type"] == "RUNNING"
        assert (busy["type"], busy["name"]) == ("CANCELLED", "Busy") and f"process {os.getpid()}" in busy["message"]
        assert not any("Traceback" in line for line in deployed.logs(night))
        assert deployed.ended(waits)["type"] == "COMPLETED", deployed.state(waits)["message"]
        assert sum("; waiting" in line for line in deployed.logs(waits)) == 1
        assert deployed.ended(changed)["type"] == "COMPLETED", deployed.state(changed)["message"]
    finally:
        preset.write_text(kept)
    made = [
        json.loads(file.read_text()) for file in deployed.folder.glob("home/data/changed/documents/*/questions.json")
    ]
    assert made and {len(talk["questions"]) for talk in made} == {2}
    assert deployed.call("GET", f"flow_runs/{changed}")["name"].startswith("changed pipeline dataset 20")
    assert deployed.state(changed)["message"].startswith("The dataset is made: ")
    until(lambda: any("Failed. Correct the parameters and run it again: source.path" in text for text in webhook[1]))
    assert deployed.call("GET", f"flow_runs/{failed}")["name"].startswith("nowhere sync-channel 20")
    assert not any("Busy" in text for text in webhook[1])


def test_status_shows_the_last_night_and_the_next_and_the_webhook_hears_of_silent_ones(
    deployed: Deployed, preset: Path, webhook: tuple[str, list[str]]
) -> None:
    """After the night that was dropped."""
    text = understudy("status", "tea", "--home", str(preset.parent / "home"), http_proxy="http://127.0.0.1:9").stdout
    assert "Busy: Wait, then run it again" in text, text
    assert "next night" in text and "dropped" in text and "silent" not in text
    until(lambda: any("tea: 1 nights were dropped" in text for text in webhook[1]))
    later = watch.Watch(state(preset), os.environ, now=lambda: datetime.now(UTC) + timedelta(hours=37))
    for _ in range(2):
        later.silent_nights(processes.load(state(preset)))
    assert sum("tea: no sync was completed for 36 hours" in text for text in webhook[1]) == 1


@pytest.mark.skipif(devtools.program() is None, reason="no chromium on this machine")
def test_the_form_of_the_page_starts_a_run_with_what_was_changed_in_it_and_the_rest_of_the_preset(
    deployed: Deployed,
) -> None:
    """As a person does it: open the form, write another seed and a number of questions, press Submit."""
    target = deployed.call("GET", "deployments/name/pipeline/build-dataset-tea")
    form = "[...document.querySelectorAll('.schema-form-property')]"
    seed = f"{form}.findLast(e => e.innerText.startsWith('Seed'))?.querySelector('input')"
    questions = f"{form}.find(e => e.innerText.startsWith('Questions'))?.querySelector('input')"

    def mine() -> list[dict[str, Any]]:
        runs = deployed.call("POST", "flow_runs/filter", {"deployments": {"id": {"any_": [target["id"]]}}})
        return [run for run in runs if run["parameters"]["config"].get("seed") == 7]

    submit = "[...document.querySelectorAll('button')].find(e => e.innerText.trim() == 'Submit')"
    with devtools.tab(1200, devtools.Tab) as tab:
        tab.open(f"http://127.0.0.1:{deployed.port}/deployments/deployment/{target['id']}/run", "Parameters")
        tab.until(f"{seed}?.value == '42'")

        def written(field: str) -> bool:
            """Whether the field holds it; on a loaded machine the page may still be filling its form."""
            tab.value(f"{field}.focus(), {field}.select()")
            tab.ask("Input.insertText", text="7")
            time.sleep(1)
            return bool(tab.value(f"{field}.value == '7'"))

        def submitted() -> bool:
            tab.value(f"{submit}?.click()")
            time.sleep(5)
            return bool(mine())

        until(lambda: written(questions))
        until(lambda: written(seed))
        until(submitted)
    run = mine()[0]
    assert run["parameters"]["change"] == {"questions": 7}
    config = run["parameters"]["config"]
    assert config["source"] == target["parameters"]["config"]["source"] and config["trainer"]["rank"] == 4
    assert deployed.ended(run["id"])["type"] == "COMPLETED", deployed.state(run["id"])["message"]


def test_a_run_whose_process_is_killed_is_crashed_and_its_slot_comes_back(deployed: Deployed, preset: Path) -> None:
    worker = processes.load(state(preset)).worker
    assert worker is not None
    name, config = "pipeline/build-dataset-tea", {"name": "killed"}
    run = deployed.start(name, config)

    def mine() -> list[int]:
        variable = f"PREFECT__FLOW_RUN_ID={run}"
        pids = [pid for pid, _ in descendants(worker.pid) if variable in environ(pid)]
        return pids if deployed.state(run)["type"] == "RUNNING" else []

    until(mine)
    for pid in mine():
        os.kill(pid, signal.SIGKILL)
    until(lambda: deployed.state(run)["type"] == "CRASHED")
    again = deployed.ended(deployed.start(name, config))
    assert again["type"] == "COMPLETED", again["message"]


def test_a_run_is_crashed_once_its_process_is_gone_and_never_while_it_sleeps(
    deployed: Deployed, webhook: tuple[str, list[str]]
) -> None:
    """Played by processes that hold what a run holds; one of them is stopped, as by a machine that sleeps."""
    flow = deployed.call("POST", "flows/filter", {"flows": {"name": {"any_": ["sync-channel"]}}})[0]
    runs, played = {}, {}
    for name in ("asleep", "lost"):
        body = {"flow_id": flow["id"], "name": name, "state": {"type": "RUNNING"}}
        runs[name] = str(deployed.call("POST", "flow_runs/", body)["id"])
        hold = f"from understudy import locks\nwith locks.working({runs[name]!r}): print(flush=True); input()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        played[name] = subprocess.Popen([sys.executable, "-c", hold], **pipes, cwd=ROOT)
        played[name].stdout.readline()
    try:
        played["asleep"].send_signal(signal.SIGSTOP)
        played["lost"].kill()
        until(lambda: deployed.state(runs["lost"])["type"] == "CRASHED")
        assert deployed.state(runs["lost"])["message"].startswith("Run it again, finished work is kept")
        assert deployed.state(runs["asleep"])["type"] == "RUNNING"
        until(lambda: any("lost Crashed. Run it again" in text for text in webhook[1]))
        assert all(json.loads(text)["text"].startswith(("sync-channel ", "pipeline ", "tea: ")) for text in webhook[1])
    finally:
        for process in played.values():
            process.kill()
            process.communicate()
    until(lambda: deployed.state(runs["asleep"])["type"] == "CRASHED")


def test_what_ended_is_started_again(deployed: Deployed, preset: Path) -> None:
    before = processes.load(state(preset))
    for process in (before.server, before.worker):
        assert process
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: not processes.alive(before.server))
    until(lambda: answers(deployed.api) is None and processes.alive(processes.load(state(preset)).worker))
    after = processes.load(state(preset))
    assert after.server != before.server and after.worker != before.worker


def test_a_second_time_all_is_as_it_was_and_nothing_is_started_twice(deployed: Deployed, preset: Path) -> None:
    """Without options, from another folder; and a worker of another environment is replaced."""
    before = processes.load(state(preset))
    done = understudy("deploy", folder=preset.parent.parent, UNDERSTUDY_WATCH_SECONDS="2")
    assert done.returncode == 0, done.stderr
    after = processes.load(state(preset))
    assert (after.server, after.worker, after.channels) == (before.server, before.worker, before.channels)
    assert (after.port, after.notify) == (deployed.port, before.notify) and after.watch != before.watch
    nightly = deployed.call("GET", "deployments/name/sync-channel/sync-channel-tea")
    [schedule] = nightly["schedules"]
    assert schedule["schedule"]["timezone"] == ZONE.key and nightly["parameters"]["home"] == str(preset.parent / "home")
    assert schedule["schedule"]["cron"] == f"{AT.minute} {AT.hour} * * *"


def test_another_name_takes_the_olds_place_and_another_environment_another_worker(
    deployed: Deployed, preset: Path
) -> None:
    before = processes.load(state(preset))
    preset.write_text(preset.read_text().replace("name: tea", "name: coffee"))
    done = deploy(preset, OPENAI_API_KEY="another", UNDERSTUDY_WATCH_SECONDS="2")
    assert done.returncode == 0, done.stderr
    after = processes.load(state(preset))
    assert after.server == before.server and after.worker != before.worker and "OPENAI_API_KEY" in done.stdout
    assert not processes.alive(before.worker) and processes.alive(after.worker)
    assert set(after.channels) == {"coffee"} and "rename data/tea" in done.stdout
    names = {item["name"] for item in deployed.call("POST", "deployments/filter", {})}
    assert names == {f"{flow}-coffee" for flow in FLOWS}


def test_a_pool_of_another_type_is_not_used(deployed: Deployed, preset: Path) -> None:
    deployed.call("POST", "work_pools/", {"name": "boxes", "type": "docker"})
    done = deploy(preset, "--pool", "boxes")
    assert done.returncode == 2 and "'boxes' already, of type 'docker'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_database_of_another_prefect_is_named_as_the_file_to_move_away(preset: Path, tmp_path: Path) -> None:
    database_file = processes.folder(tmp_path) / "prefect.db"
    database_file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database_file)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('of another version')")
    done = deploy(preset, "--port", str(free_port()), home=tmp_path)
    assert done.returncode == 2 and "was written by another version of Prefect" in done.stderr
    assert str(database_file) in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_taken_port_says_who_has_it(deployed: Deployed, preset: Path, tmp_path: Path) -> None:
    done = deploy(preset, "--port", str(deployed.port), home=tmp_path)
    assert done.returncode == 2 and "another Prefect server" in done.stderr
    assert f"--port {deployed.port + 1}" in done.stderr and len(done.stderr.splitlines()) == 1


def test_undeploying_ends_what_was_started_and_nothing_else(deployed: Deployed, preset: Path) -> None:
    before = processes.load(state(preset))
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    undeploy = ["undeploy", "--home", str(preset.parent / "home")]
    done = understudy(*undeploy)
    assert done.returncode == 0, done.stderr
    assert "Stopped: worker, server." in done.stdout
    assert not any(processes.alive(process) for process in (before.server, before.worker, before.watch))
    assert other.poll() is None
    other.kill()
    assert answers(deployed.api) is not None
    assert "nothing is deployed" in understudy(*undeploy).stdout
