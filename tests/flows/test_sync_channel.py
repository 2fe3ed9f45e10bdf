"""The scheduled flow: what is new is paid for once, a better model takes over, and all of it can be taken back."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import LEAN, ROOT
from understudy.__main__ import main
from understudy.config import load
from understudy.errors import ConfigError
from understudy.runs import champion
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
LATER = "\n\n999\n00:59:00.000 --> 00:59:09.000\nA clock that is wound in a hurry stands still after a day.\n"
TALKS = sorted((ROOT / "deployments/sample_channel").glob("[01]*"))


@pytest.fixture(scope="module")
def server() -> Iterator[TeacherServer]:
    with TeacherServer(Plan()) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with seven talks, in which the tests of this module happen one after another."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "talks").mkdir()
    for file in TALKS[:7]:
        shutil.copy(file, folder / "talks")
    return folder


def make_workspace(server: TeacherServer, home: Path, **changes: Any) -> Workspace:
    settings = LEAN | {
        "name": "tea",
        "source": {"use": "documents", "path": str(home / "talks")},
        "teacher": {"use": "openai", "model": "gpt-5-mini", "base_url": server.url},
        "gates": [{"use": "length"}],
        "split.test": 0.3,
        "sync": {"min_new_pairs": 1, "forget_removed": True},
    }
    return Workspace(home=home, config=load(ROOT / "deployments/presets/documents.yaml", settings | changes))


def sync(workspace: Workspace, **more: Any) -> Any:
    from understudy.flows.sync_channel import sync_channel

    return sync_channel(config=workspace.config, home=workspace.home, **more)


def paid(server: TeacherServer) -> int:
    """Paid calls since the last look."""
    calls = server.account.paid_calls
    server.reset()
    return calls


def page(key: str) -> str:
    """The newest artifact of a key."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        query = {"artifacts": {"key": {"any_": [key]}}, "sort": "UPDATED_DESC", "limit": 1}
        return str(client.request("POST", "/artifacts/filter", json=query).json()[0]["data"])


def test_the_first_model_becomes_the_champion(server: TeacherServer, home: Path) -> None:
    workspace = make_workspace(server, home)
    done = sync(workspace)
    assert paid(server) == 2 * 7
    assert done.challenge.promoted and done.challenge.champion is None
    folder = champion.current(home / "models/tea")
    assert folder and folder.name == done.challenge.challenger and (folder / "gguf").is_dir()
    assert f"`{folder.name}`" in page("tea-champion")


def test_with_nothing_new_no_call_is_made_and_nothing_is_trained(server: TeacherServer, home: Path) -> None:
    before = champion.history(home / "models/tea")
    done = sync(make_workspace(server, home))
    assert server.account.requests == 0
    assert done.challenge is None and champion.history(home / "models/tea") == before
    assert "Too little is new" in page("tea-champion")


def test_too_little_that_is_new_is_read_but_not_trained_on(server: TeacherServer, home: Path) -> None:
    shutil.copy(TALKS[7], home / "talks")
    done = sync(make_workspace(server, home, **{"sync.min_new_pairs": 1000}))
    assert paid(server) == 2
    assert done.challenge is None and len(list((home / "models/tea").glob("*/adapter"))) == 2  # one, and the link


def test_a_champion_answers_the_rows_of_today_beside_its_challenger(server: TeacherServer, home: Path) -> None:
    """A held-out talk says something else by now, so what the champion was scored on is out of date."""
    workspace = make_workspace(server, home)
    first, plan = champion.current(home / "models/tea"), workspace.read(workspace.latest("split"))
    assert first
    talk = home / "talks" / plan.documents["test"][0]
    talk.write_text(talk.read_text() + LATER)
    done = sync(workspace)
    assert paid(server) == 2
    challenge = done.challenge
    assert challenge.champion == first.name != challenge.challenger
    assert challenge.test_sha256 == done.dataset.test.sha256 != scored_on(workspace, first.name)
    answers = {
        run: [json.loads(line)["pair_id"] for line in file.read_text().splitlines()]
        for run, file in {
            "theirs": home / workspace.path("samples", run=challenge.challenger, candidate="champion"),
            "ours": home / workspace.path("samples", run=challenge.challenger, candidate="fused"),
        }.items()
    }
    assert len(answers["theirs"]) == done.dataset.test.rows and answers["theirs"] == answers["ours"]
    assert set(challenge.verdicts) >= {"nll_per_token", "well_formatted"}
    assert challenge.promoted == (
        set(challenge.verdicts.values()) <= {"better", "no worse"} and "better" in challenge.verdicts.values()
    )
    last = champion.history(home / "models/tea")[-1]
    assert (last.action, last.run) == ("promoted" if challenge.promoted else "refused", challenge.challenger)
    assert challenge.reasons[0] in page("tea-champion")
    assert sync(workspace).challenge is None, "what was refused once is not trained again every night"


def scored_on(workspace: Workspace, run: str) -> str:
    """The digest of the held-out rows that a run was scored on when it was made."""
    return str(json.loads((workspace.home / workspace.path("scorecard", run=run)).read_text())["test_sha256"])


def test_a_run_somebody_rolled_back_from_is_not_promoted_again(server: TeacherServer, home: Path) -> None:
    models = home / "models/tea"
    first, last = (champion.history(models)[at].run for at in (0, -1))
    champion.promote(models, last, ["as if it had been better"])
    assert main(["--home", str(home), "rollback", "tea"]) == 0
    back = champion.current(models)
    assert back and back.name == first != last
    done = sync(make_workspace(server, home), retrain=True)
    assert paid(server) == 0
    assert not done.challenge.promoted and champion.current(models) == back


def test_a_talk_its_source_no_longer_has_is_forgotten_where_the_preset_says_so(
    server: TeacherServer, home: Path
) -> None:
    gone = home / "talks" / TALKS[0].name
    gone.unlink()
    kept = sync(make_workspace(server, home, sync={"min_new_pairs": 1000}))
    folder = home / "data/tea/documents" / TALKS[0].name
    assert kept.forgotten == [] and folder.is_dir()
    done = sync(make_workspace(server, home, sync={"min_new_pairs": 1000, "forget_removed": True}))
    assert done.forgotten == [TALKS[0].name] and not folder.exists()
    assert TALKS[0].name in page("tea-champion") and "trained before that" in page("tea-champion")
    assert paid(server) == 0


def test_a_source_that_lists_almost_nothing_makes_nobody_forget(server: TeacherServer, home: Path) -> None:
    away = home / "away"
    away.mkdir()
    for file in sorted((home / "talks").iterdir())[:-3]:
        file.rename(away / file.name)
    done = sync(make_workspace(server, home, sync={"min_new_pairs": 1000, "forget_removed": True}))
    assert done.forgotten == [] and len(list((home / "data/tea/documents").iterdir())) == 7
    for file in away.iterdir():
        file.rename(home / "talks" / file.name)


def test_a_failed_run_begins_with_what_to_do(server: TeacherServer, home: Path) -> None:
    from understudy.flows.sync_channel import sync_channel

    workspace = make_workspace(server, home, source={"use": "documents", "path": str(home / "nowhere")})
    state = sync_channel(config=workspace.config, home=home, return_state=True)
    assert state.is_failed()
    first = state.message.splitlines()[0]
    assert first.startswith("Correct the parameters and run it again: source.path: there is no folder")
    with pytest.raises(ConfigError):
        sync(workspace)
