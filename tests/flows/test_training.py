"""What the UI shows of a training, and trials before it, on a tiny setting."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.flows import machine
from tests.flows.conftest import ROOT, TINY, files_under
from understudy.bases.scratch import ScratchBase
from understudy.config import load
from understudy.errors import ConfigError, WorkerFailed
from understudy.graph import Graph
from understudy.records import RunRecord, TrialCard
from understudy.runs.trials import finished
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
FAST = TINY | {"export.types": ["Q8_0"], "tune.min_steps": 2, "trainer.learning_rate": 1e-4}


def workspace(home: Path, **changes: Any) -> Workspace:
    return Workspace(home=home, config=load(ROOT / "deployments/presets/tiny.yaml", FAST | changes))


def train(where: Workspace) -> Any:
    """The flow of the model, as far as the adapter: what comes after it has tests of its own."""
    from prefect import flow
    from understudy.tasks import policies, publish

    from understudy.runs import trials

    @flow(name="only-train")
    def only_train() -> Any:
        graph, tried = trials.tuned(Graph(where, policies.materialize, dict(Graph(where).on_disk())))
        publish.tuning(graph, tried)
        graph.get("adapter")
        publish.losses(graph)
        return graph.run

    return only_train()


def artifacts(key: str) -> list[dict[str, Any]]:
    """All versions of the artifact `key`, the newest first."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        query = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        return client.request("POST", "/artifacts/filter", json=query).json()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Path:
    """A home with the sample's dataset."""
    from understudy.flows.pipeline import pipeline

    folder = tmp_path_factory.mktemp("home")
    pipeline(config=workspace(folder).config, home=folder, only="dataset")
    return folder


@pytest.fixture(scope="module")
def plain(home: Path) -> str:
    """The run that is made without trials."""
    return train(workspace(home))


def test_losses_and_answers_are_shown_again_when_the_training_was_cached(home: Path, plain: str) -> None:
    shown = {key: artifacts(key) for key in ("sample-loss", "sample-loss-curve")}
    before = files_under(home)
    assert train(workspace(home)) == plain and files_under(home) == before
    for key, earlier in shown.items():
        assert len(artifacts(key)) == len(earlier) + 1 and artifacts(key)[0]["data"] == earlier[0]["data"]
    page, table = artifacts("sample-loss-curve")[0]["data"], json.loads(artifacts("sample-loss")[0]["data"])
    assert "](data:image/svg+xml;base64," in page and page.count(", kept:* ") == 3
    assert table[0]["iteration"] == 0 and table[0]["valid loss"] and table[-1]["train loss"]


def test_a_run_leaves_a_record_of_how_it_was_made(home: Path, plain: str) -> None:
    where = workspace(home)
    record: RunRecord = where.read(where.latest("run", run=plain))
    assert record.dataset == Graph(where).on_disk() and record.trials == [] and record.seed == where.config.seed
    assert record.result == where.read(where.latest("adapter", run=plain))


def test_a_record_that_was_deleted_is_written_again_without_training(home: Path, plain: str) -> None:
    where = workspace(home)
    file = home / where.path("run", run=plain)
    weights = home / where.path("adapter", run=plain) / "adapters.safetensors"
    file.unlink()
    before = weights.stat().st_mtime_ns
    assert train(where) == plain and file.is_file() and weights.stat().st_mtime_ns == before


def test_trials_come_first_are_kept_and_their_winner_has_a_run_of_its_own(home: Path, plain: str) -> None:
    where = workspace(home, **{"tune.trials": 3})
    run = train(where)
    before = files_under(home)
    assert train(where) == run and files_under(home) == before
    record: RunRecord = where.read(where.latest("run", run=run))
    rates = [card.learning_rate for card in record.trials]
    assert rates == sorted(rates) and {1e-4, 3e-4, 9e-4} <= set(rates)
    assert record.settings["trainer"]["learning_rate"] in rates
    assert (run == plain) == (record.settings["trainer"]["learning_rate"] == 1e-4)
    table = json.loads(artifacts("sample-tune")[0]["data"])
    assert [row["learning rate"] for row in table] == rates and [r["outcome"] for r in table].count("taken") == 1
    for folder in (home / "models/sample/tune").iterdir():
        TrialCard.model_validate_json((folder / "card.json").read_bytes())
    with pytest.raises(ConfigError, match="^- fused of 'sample' is not on disk"):  # the adapter was found by its trials
        finished(where, Graph(where).on_disk()).model()


def test_a_tuned_model_whose_trials_are_not_there_is_said_to_be_missing(home: Path, plain: str) -> None:
    other = workspace(home, **{"tune.trials": 3, "trainer.rank": 2})
    with pytest.raises(ConfigError, match="trial of 'sample' is not on disk .* run without --only"):
        finished(other, Graph(other).on_disk()).model()


def test_trials_that_all_diverge_end_the_run_with_what_to_do(home: Path) -> None:
    where = workspace(home, **{"tune.trials": 3, "trainer.learning_rate": 1e30})
    with pytest.raises(ConfigError, match=r"no learning rate of 'sample' can be used .*became NaN.* lower"):
        train(where)


def test_while_it_trains_one_table_follows_the_losses(home: Path, plain: str, tmp_path: Path) -> None:
    from understudy.tasks.live import ProgressArtifacts

    where, now = workspace(home, name="live"), [0.0]
    source = home / workspace(home).path("adapter", run=plain) / "metrics.jsonl"
    lines = source.read_text().splitlines(keepends=True)
    live = ProgressArtifacts(where, clock=lambda: now[0])
    live.watch("train", tmp_path)
    for until in (1, len(lines)):
        (tmp_path / "metrics.jsonl").write_text("".join(lines[:until]))
        live.update("train", until, len(lines), "loss 1")
        live.update("train", until, len(lines), "loss 1")
        now[0] += 6
        live.update("train", until, len(lines), "loss 1")
        [shown] = artifacts("live-loss")
        assert len(json.loads(shown["data"])) == len({json.loads(line)["iteration"] for line in lines[:until]})


def test_an_api_that_fails_is_asked_again_later_and_never_ends_the_work(
    home: Path, tmp_path: Path, caplog: Any
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from understudy.tasks.live import REST_SECONDS, ProgressArtifacts

    now = [0.0]
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 0, "valid_loss": 2.0}\n')
    bars = ProgressArtifacts(workspace(home), clock=lambda: now[0])
    bars.watch("train", tmp_path)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        for _ in range(3):
            bars.update("train", 1, 2, "")
            now[0] += REST_SECONDS / 2
        bars.close("train", 1.0, False)
    messages = [record.message for record in caplog.records if "the work goes on" in record.message]
    assert len(messages) == 2 and "the bar of train" in messages[0] and "the loss table" in messages[1]


def test_a_slow_api_gets_a_hundredth_of_the_time(tmp_path: Path) -> None:
    from uuid import uuid4

    from understudy.tasks.live import Shown

    now = [0.0]
    shown = Shown("it", every_seconds=5.0, clock=lambda: now[0])

    def slow() -> Any:
        now[0] += 2.0
        return uuid4()

    now[0] = 5.0
    assert shown.due
    shown.put(slow, lambda artifact: None)
    now[0] += 199.0
    assert not shown.due
    now[0] += 1.5
    assert shown.due


@pytest.fixture
def rented(home: Path, prefect_server: str, tmp_path: Path) -> Workspace:
    """A preset whose trainings go to a pool, and the deployment for it; its home has the dataset alone."""
    from prefect.client.orchestration import get_client
    from understudy.deployments import deploy, server
    from understudy.deployments.processes import Channel

    base = tmp_path / "tiny-base"
    base.mkdir()
    options = ScratchBase.Options(vocabulary=400, hidden=64, intermediate=128, layers=1, steps=1, context=2048)
    ScratchBase(options).prepare(["Wax melts and burns. " * 50], base, 7, lambda done, total, note="": None)
    shutil.copytree(home / "data", tmp_path / "home/data")
    where = Workspace(
        home=tmp_path / "home",
        config=load(
            ROOT / "deployments/presets/tiny.yaml",
            FAST
            | {
                "base": str(base),
                "trainer": {
                    "use": "mlx_lora",
                    "rank": 4,
                    "epochs": 2,
                    "evaluations_per_epoch": 4,
                    "max_seq_length": 2048,
                },
            }
            | {"machine": {"pool": "boxes", "place": f"file://{tmp_path}/place", "usd_per_hour": 2, "wait_minutes": 0}},
        ),
    )
    how = Channel(str(ROOT / "deployments/presets/tiny.yaml"), str(ROOT), "0 3 * * *", "UTC")
    file = deploy._deployments("sample", how, where.home, "understudy", "boxes")
    file["deployments"] = file["deployments"][-1:]
    with get_client(sync_client=True) as client:
        server.make_pool(client, "boxes")
    deploy._deploy(tmp_path, file, os.environ | {"PREFECT_API_URL": prefect_server, "PROJECT_DIR": str(ROOT)})
    return where


class Box:
    """A machine that trains for others: a worker of the pool, with a home of its own."""

    def __init__(self, folder: Path, api: str) -> None:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "boxes", "--type", "process"]
        self.home, variables = folder, {"PREFECT_API_URL": api, "UNDERSTUDY_HOME": str(folder)}
        self.process = subprocess.Popen(command, env=os.environ | variables, start_new_session=True)

    def kill_training(self, when: str) -> None:
        """Kill -9 the process that trains, once `when` is among its metrics."""
        machine.until(lambda: any(when in file.read_text() for file in self.home.glob("training/*.out/metrics.jsonl")))
        [pid] = [pid for pid, command in machine.descendants(self.process.pid) if "mlx_lora_worker" in command]
        os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Prefect's worker sometimes ignores SIGTERM when a run has just failed, and then waits for ever."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def test_a_training_elsewhere_waits_for_a_worker_survives_its_death_and_ends_as_one_here(
    rented: Workspace, prefect_server: str, tmp_path: Path
) -> None:
    with pytest.raises(WorkerFailed, match="no worker of the pool 'boxes' .* prefect worker start --pool boxes"):
        train(rented)
    waiting = rented.config.machine.model_copy(update={"wait_minutes": 2})
    where = rented.model_copy(update={"config": rented.config.model_copy(update={"machine": waiting})})
    first = Box(tmp_path / "one", prefect_server)
    try:
        killer = threading.Thread(target=first.kill_training, args=('"step": 6,',))
        killer.start()
        with pytest.raises(WorkerFailed, match="killed"):
            train(where)
        killer.join()
    finally:
        first.end()
    second = Box(tmp_path / "two", prefect_server)
    try:
        run = train(where)
    finally:
        second.end()
    alone = where.config.model_copy(update={"machine": type(waiting)()})
    here = Workspace(home=tmp_path / "here", config=alone)
    shutil.copytree(rented.home / "data", here.home / "data")
    assert train(here) == run
    there, local = (one.home / one.path("adapter", run=run) for one in (where, here))
    assert "resum" in (there / "train.log").read_text()
    for name in ("adapters.safetensors", "last/resume.safetensors", "best/adapters.safetensors"):
        assert (there / name).read_bytes() == (local / name).read_bytes(), name
    card = where.read(where.latest("adapter", run=run))
    assert card.rented_seconds > card.seconds and "USD" in artifacts("sample-cost-training")[0]["data"]
    record: RunRecord = where.read(where.latest("run", run=run))
    assert "boxes" not in record.model_dump_json() and str(tmp_path) not in record.model_dump_json()
    assert not list((tmp_path / "place").rglob("*.json*")) and not list(tmp_path.glob("two/training/*/*"))
