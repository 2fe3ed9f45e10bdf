"""What `understudy deploy` refuses, and what prefect.yaml and prefect.toml say; needs no server."""

import json
import os
import plistlib
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from understudy.deployments import deploy, login, packaged, processes, watch

from understudy import cli
from understudy.config import load, validate

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="understudy-prefect-"))  # not the user's
PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))


def test_every_deployment_takes_its_settings_from_the_preset() -> None:
    [step] = PREFECT["build"]
    [(function, arguments)] = step.items()
    assert function == "understudy.deployments.packaged.configuration" and arguments["name"] == "demo"
    demo = load(packaged.preset("demo"))
    assert validate(packaged.configuration("demo")["config"]) == demo
    *ours, elsewhere = PREFECT["deployments"]
    assert all(item["parameters"]["config"] == "{{ preset.config }}" for item in ours)
    assert elsewhere["parameters"] == {} and elsewhere["pull"] == [], "what trains elsewhere has nothing of this home"


def test_every_setting_of_prefect_is_one_that_prefect_knows() -> None:
    """And the environment wins: what is set there stays."""
    environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "45"}
    packaged.configure_prefect(environment)
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "45"
    script = (
        "import json, os, prefect.settings as s; known = s.get_current_settings().to_environment_variables("
        "include_secrets=False); print(json.dumps({k: known.get(k) for k in os.environ if k.startswith('PREFECT_')}))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    known = json.loads(done.stdout)
    assert len(known) > 8 and known == {name: environment[name] for name in known}


def test_no_deployment_has_a_limit_whose_lease_ends_a_run_while_the_machine_sleeps() -> None:
    assert not any("concurrency_limit" in item for item in PREFECT["deployments"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "nowhere"], "no preset 'nowhere'; choose from channel, demo"),
        (["--preset", "gone.yaml"], "gone.yaml'; the presets that need no file are channel, demo"),
        (["--cron", "nightly"], "--cron 'nightly' is not a cron line"),
        (["--cron", "99 3 * * *"], "'99 3 * * *' is not a cron line"),
        (["--timezone", "Berlin"], "no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'; write it as Europe/Berlin"),
        (["--notify", "me@example.com"], "--notify 'me@example.com': write it as https://"),
        (["--home", str(ROOT / "LICENSE")], "is a file, where a folder is needed"),
        (["--port", "0"], "--port 0 is not a port"),
    ],
)
def test_what_cannot_be_deployed_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert cli.main(["deploy", "--home", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.splitlines()) == 1
    assert not (processes.folder(tmp_path) / processes.FILE).exists()


def test_a_server_that_does_not_answer_is_named_with_the_way_without_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "understudy", "deploy", "--home", str(tmp_path)],
        env=dict(os.environ) | {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "unset PREFECT_API_URL" in done.stderr and len(done.stderr.splitlines()) == 1


def test_only_the_very_process_that_was_started_is_ended(tmp_path: Path) -> None:
    started = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", os.environ)
    other = processes.Process(started.pid, "Thu Jan  1 00:00:00 1970")
    assert processes.alive(started) and not processes.alive(other)
    assert not processes.stop(other) and processes.alive(started)
    assert processes.stop(started) and not processes.alive(started) and not processes.stop(started)


@pytest.mark.parametrize("text", ["", "{", '{"api": 1, "who": 2}', '{"server": 5, "worker": null}'])
def test_a_damaged_record_of_processes_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / processes.FILE).write_text(text)
    assert processes.load(tmp_path) == processes.Running()


def test_undeploying_while_the_server_is_down_remembers_what_is_left_on_it(tmp_path: Path) -> None:
    state = processes.folder(tmp_path)
    state.mkdir(parents=True)
    how = processes.Channel("tea.yaml", str(tmp_path), "0 4 * * *", "Asia/Tokyo")
    processes.save(state, processes.Running(api="http://127.0.0.1:9/api", channels={"tea": how}))
    assert processes.load(state).channels == {"tea": how}
    assert cli.main(["undeploy", "--home", str(tmp_path)]) == 0
    assert processes.load(state).left == ["tea"] and not processes.load(state).channels
    assert cli.main(["undeploy", "--home", str(tmp_path)]) == 0 and processes.load(state).left == ["tea"]


def test_a_home_whose_disk_is_unplugged_is_not_deployed_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    processes.note_home(tmp_path / "disk", deployed=True)
    assert cli.main(["deploy", "--home", str(tmp_path / "disk")]) == 2
    assert "is its disk plugged in?" in capsys.readouterr().err and not (tmp_path / "disk").exists()


def test_the_zone_of_a_schedule_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("Asia/Kathmandu", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        assert deploy.local_zone() == zone


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_what_starts_it_at_login_names_the_home_and_is_removed_with_it(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", system)
    home = tmp_path / "100% of it"
    said = login.write(home)
    text = login.file(home).read_text()
    assert str(login.file(home)) in said[0] and sys.executable in text
    if system == "darwin":
        assert plistlib.loads(text.encode())["ProgramArguments"][-1] == str(home)
    else:
        assert f'"{tmp_path}/100%% of it"' in text and "enable" in said[1]
    assert login.remove(home) and not login.file(home).exists() and not login.remove(home)


def test_a_process_is_replaced_when_what_it_was_started_with_has_changed_and_keeps_no_secret() -> None:
    environment = {"OPENAI_API_KEY": "sk-1", "SHLVL": "1", "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    process = processes.Process(1, "", processes.made_with(environment, pool="a"))
    assert "sk-1" not in json.dumps(process.made_with)
    assert processes.differences(process, processes.made_with(environment | {"SHLVL": "2"}, pool="a")) == []
    for change in ({"OPENAI_API_KEY": "sk-2"}, {"PREFECT_API_URL": "http://127.0.0.1:2/api"}, {"https_proxy": "x"}):
        assert processes.differences(process, processes.made_with(environment | change, pool="a")) == list(change)
    assert processes.differences(process, processes.made_with(environment, pool="b")) == ["pool"]


def test_a_log_that_grows_is_moved_away_while_it_is_written_to(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    with file.open("ab", buffering=0) as writer:
        writer.write(b"1" * 150)
        watch.rotate(file, most=100)
        writer.write(b"2")
    assert file.read_bytes() == b"2" and file.with_name("server.log.1").read_bytes() == b"1" * 100
