"""The demo preset on a tiny setting: whole, twice, and with something gone in between."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import ROOT, TINY, files_under
from understudy.config import load
from understudy.errors import ConfigError
from understudy.records import Scorecard
from understudy.runs.trials import finished
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> tuple[Workspace, Any]:
    """The finished tiny run."""
    from understudy.flows.pipeline import pipeline

    config = load(ROOT / "deployments/presets/tiny.yaml", TINY)
    home = tmp_path_factory.mktemp("home")
    return Workspace(home=home, config=config), pipeline(config=config, home=home)


def states(name: str, expected: int) -> list[str]:
    """State names of the task runs of the latest flow run called `name`; the server records them with a delay."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        [run] = client.read_flow_runs(
            flow_filter=FlowFilter(name={"any_": [name]}), limit=1, sort=FlowRunSort.START_TIME_DESC
        )
        until = time.monotonic() + 30
        while True:
            task_runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}))
            named = [run.state_name for run in task_runs if not run.name.startswith("list-talks")]
            if (len(named) == expected and "Running" not in named) or time.monotonic() > until:
                return named
            time.sleep(0.5)


def test_every_asset_is_there_and_the_scorecard_compares(first: tuple[Workspace, Any]) -> None:
    workspace, outcome = first
    card: Scorecard = workspace.read(outcome.score.scorecard)
    files = [name for name in ("F16", "Q8_0") if name not in outcome.score.refused]
    rivals = ["base-Q8_0"] if "Q8_0" in files else [f"base-{name}" for name in files]
    named = ["base", "base-prompted", "adapter", "fused", "F16", "Q8_0", *rivals]
    assert [candidate.name for candidate in card.candidates] == named
    assert card.test_pairs == outcome.dataset.test.rows and card.test_documents >= 2
    by_name = {c.name: c.metrics["nll_per_token"].value for c in card.candidates}
    assert abs(by_name["adapter"] - by_name["fused"]) < 0.01
    assert abs(by_name["fused"] - by_name["F16"]) < 0.02
    alone = outcome.model.adapter_file
    assert workspace.file(alone).read_bytes().startswith(b"GGUF") and workspace.read(alone).tensors == 2 * 7
    assert "<html" in workspace.file(outcome.score.report).read_text()
    assert {row.status for row in workspace.ledger.rows()} == {"ok"}


def test_a_second_run_writes_nothing_and_everything_is_cached(first: tuple[Workspace, Any]) -> None:
    from understudy.flows.pipeline import pipeline

    workspace, outcome = first
    before = files_under(workspace.home)
    again = pipeline(config=workspace.config, home=workspace.home)
    assert again == outcome
    assert files_under(workspace.home) == before
    for flow, tasks in (("build-dataset", 3), ("build-model", 6), ("score-model", 13)):
        assert states(flow, tasks) == ["Cached"] * tasks, flow


def test_without_prefects_memory_what_is_fresh_is_still_not_made_again(
    first: tuple[Workspace, Any], tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings
    from understudy.flows.pipeline import pipeline

    workspace, outcome = first
    before = files_under(workspace.home)
    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: tmp_path}):
        assert pipeline(config=workspace.config, home=workspace.home) == outcome
    assert files_under(workspace.home) == before


def test_what_prefect_remembers_never_wins_over_the_disk(first: tuple[Workspace, Any], tmp_path: Path) -> None:
    from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings
    from understudy.flows.pipeline import pipeline

    workspace, outcome = first
    samples = workspace.home / workspace.path("samples", run=outcome.model.run, candidate="base")
    old = samples.read_bytes()
    samples.unlink()
    for kept in samples.parents[1].glob("answer_cache/*.jsonl"):
        kept.unlink()  # else the answers are read there, timings and all
    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: tmp_path}):
        pipeline(config=workspace.config, home=workspace.home)
    assert samples.read_bytes() != old, "answers carry how long they took"
    again = pipeline(config=workspace.config, home=workspace.home)
    assert workspace.rows(workspace.latest("samples", run=again.model.run, candidate="base"))


def test_what_was_deleted_or_cut_short_is_made_again_and_nothing_else(first: tuple[Workspace, Any]) -> None:
    from understudy.flows.pipeline import pipeline

    workspace, outcome = first
    before = files_under(workspace.home)
    cut = workspace.file(outcome.model.files["Q8_0"])
    cut.write_bytes(cut.read_bytes()[:1000])
    gone = workspace.file(outcome.dataset.train)
    gone.unlink()
    pipeline(config=workspace.config, home=workspace.home)
    after = files_under(workspace.home)
    assert {name: data for name, (_, data) in after.items() if "manifest" not in name and "split" not in name} == {
        name: data for name, (_, data) in before.items() if "manifest" not in name and "split" not in name
    }
    untouched = [n for n in before if n.startswith("models") and "Q8_0.gguf" not in n]
    assert all(after[name][0] == before[name][0] for name in untouched)


def test_the_run_that_was_started_shows_everything_and_says_how_it_ended(first: tuple[Workspace, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    _, outcome = first
    with get_client(sync_client=True) as client:
        [run] = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name={"like_": "sample pipeline 2"}), limit=1, sort=FlowRunSort.START_TIME_ASC
        )
        whole = {"flow_runs": {"id": {"any_": [str(run.id)]}}}
        artifacts = client.request("POST", "/artifacts/filter", json=whole).json()
    shown = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert set(shown) >= {f"sample-{name}" for name in ("dataset", "loss", "parity", "report", "files", "run")}
    assert "file://" not in json.dumps(shown) and "Q8_0.gguf" in shown["sample-files"]
    verdict = outcome.score.verdict
    assert run.state.message == verdict and verdict.partition(":")[0] in shown["sample-report"]
    assert re.fullmatch(r"sample pipeline \d{4}-\d\d-\d\d \d\d:\d\d", run.name)


def test_a_changed_setting_makes_only_what_depends_on_it(first: tuple[Workspace, Any]) -> None:
    from understudy.flows.pipeline import pipeline

    workspace, outcome = first
    changed = load(ROOT / "deployments/presets/tiny.yaml", TINY | {"trainer.rank": 2})
    before = files_under(workspace.home / "data") | files_under(workspace.home)
    other = pipeline(config=changed, home=workspace.home, only="model")
    assert other.model.run != outcome.model.run and other.model.base == outcome.model.base
    after = files_under(workspace.home)
    assert {name: after[name] for name in before} == before


def test_importance_makes_the_quantizations_again_and_nothing_before_them(first: tuple[Workspace, Any]) -> None:
    from understudy.flows.pipeline import pipeline

    workspace, outcome = first
    changed = load(ROOT / "deployments/presets/tiny.yaml", TINY | {"export.importance": True})
    other = Workspace(home=workspace.home, config=changed)
    made = pipeline(config=changed, home=workspace.home, only="model").model
    card = other.read(other.latest("importance", run=made.run))
    assert card.rows <= outcome.dataset.train.rows and card.tensors == 7
    assert made == finished(other, outcome.dataset).model()
    assert made.files["F16"] == outcome.model.files["F16"] and made.fused == outcome.model.fused
    with pytest.raises(ConfigError, match="gguf of 'sample' is not on disk for these settings"):
        finished(workspace, outcome.dataset).model()


@pytest.mark.parametrize(("error", "attempts"), [("ValueError", 1), ("Transient", 4)])
def test_only_what_a_retry_can_fix_is_retried(error: str, attempts: int) -> None:
    from prefect import flow
    from understudy.tasks.policies import talk_task

    from understudy.errors import Transient

    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise {"ValueError": ValueError, "Transient": Transient}[error]("boom")

    quick = talk_task("fails")(fails).with_options(retry_delay_seconds=0, task_run_name="fails")

    @flow
    def once() -> None:
        quick()

    with pytest.raises((ValueError, Transient)):
        once()
    assert len(calls) == attempts


@pytest.mark.parametrize(("due", "most"), [(0, 1), (1, 1), (100, 1), (101, 2), (10_000, 100)])
def test_no_more_than_a_hundred_task_runs_per_stage(due: int, most: int) -> None:
    from understudy.tasks.policies import batches

    parts = list(batches(list(range(due))))
    assert [item for batch in parts for item in batch] == list(range(due))
    assert len(parts) <= 100 and max(map(len, parts), default=1) == most
