"""What deploying refuses, and what stands in prefect.yaml; needs no server."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from understudy.deployments import deploy, processes

from understudy.config import load, validate

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="understudy-prefect-"))  # not the user's
PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))


def test_the_deployed_sample_is_the_demo() -> None:
    demo = load(ROOT / "deployments/presets/demo.yaml")
    assert all(validate(found["parameters"]["config"]) == demo for found in PREFECT["deployments"])


def test_every_deployment_says_what_happens_when_runs_collide() -> None:
    for found in PREFECT["deployments"]:
        assert found["concurrency_limit"]["limit"] == 1
        nightly = found["entrypoint"].endswith(".sync_channel")
        assert found["concurrency_limit"]["collision_strategy"] == ("CANCEL_NEW" if nightly else "ENQUEUE")
        assert not nightly or all(schedule["timezone"] for schedule in found["schedules"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "nowhere"], "no preset 'nowhere' (any more); name a file, or one of"),
        (["--preset", "gone.yaml"], "no preset 'gone.yaml'"),
        (["--cron", "nightly"], "--cron 'nightly' is no cron line"),
        (["--cron", "99 3 * * *"], "'99 3 * * *' is no cron line"),
        (["--timezone", "Berlin"], "no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'; write it as Europe/Berlin"),
        (["--notify", "me@example.com"], "--notify 'me@example.com': write it as https://"),
        (["--home", str(ROOT / "LICENSE")], "is a file, where a folder is needed"),
        (["--port", "0"], "--port 0 is no port"),
    ],
)
def test_what_cannot_be_deployed_is_one_sentence(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(ROOT)
    assert deploy.main(["--state", str(tmp_path / "state"), *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
    assert not (tmp_path / "state" / processes.FILE).exists()


def test_a_server_that_does_not_answer_is_told_with_the_way_without_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deployments/deploy.py"), "--state", str(tmp_path)],
        env=dict(os.environ) | {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "unset PREFECT_API_URL" in done.stderr and len(done.stderr.splitlines()) == 1


def test_only_the_very_process_that_was_started_is_ended(tmp_path: Path) -> None:
    started = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", os.environ, ROOT)
    other = processes.Process(started.pid, "Thu Jan  1 00:00:00 1970")
    assert processes.alive(started) and not processes.alive(other)
    assert not processes.stop(other) and processes.alive(started)
    assert processes.stop(started) and not processes.alive(started) and not processes.stop(started)


@pytest.mark.parametrize("told", ["", "{", '{"api": 1, "who": 2}', '{"server": 5, "worker": null}'])
def test_what_is_written_down_badly_is_nothing(told: str, tmp_path: Path) -> None:
    (tmp_path / processes.FILE).write_text(told)
    assert processes.load(tmp_path) == processes.Running()
