"""`python flows/main.py` as its users meet it: exit status, words, resume after a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows.conftest import LEAN_FLAGS, ROOT, files_under
from tests.flows.machine import clean, output_of, started

MAIN = [sys.executable, str(ROOT / "flows" / "main.py")]


def run(*flags: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *flags], capture_output=True, text=True, timeout=300, cwd=cwd, env=os.environ | environment
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "dmo"], "did you mean 'demo'"),
        (["--set", "trainer.rnk=3"], "did you mean 'rank'"),
        (["--set", "teacher.use=x"], "choose from auto, extractive"),
        (["--set", "seed"], "section.key=value"),
        (["--set", "export.types=[Q9_9]"], "Q9_9"),
        (["--documents", "no/such/folder"], "there is no folder"),
        (["--channel", "@someone"], "permission: state your right"),
        (["--channel", "no channel!", "--set", "permission=owned"], "is not a channel"),
    ],
)
def test_what_cannot_be_done_is_said_at_once_and_nothing_is_written(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    result = run(*flags, "--home", str(home))
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not home.exists()


def test_help_needs_no_prefect_and_names_the_presets() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *MAIN[1:], "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0 and "channel, demo, documents" in result.stdout
    assert "prefect" not in result.stderr and "mlx" not in result.stderr


def test_a_kill_loses_nothing_and_the_next_run_ends_as_if_undisturbed(prefect_server: str, tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    for file in sorted((ROOT / "deployments/sample_channel").glob("*.vtt"))[:5]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "broken.txt").write_bytes(b"\x00\x01")
    (folder / "empty.srt").write_bytes(b"")
    flags = ["--documents", str(folder), *LEAN_FLAGS, "--only", "dataset"]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = started(killed, *flags, environment=clean())  # a server of its own: a killed run keeps its slots there
    until = time.monotonic() + 120
    while not list(killed.glob("data/talks/documents/*/questions.json")) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    results = [
        run(*flags, "--home", str(home), "--json", PREFECT_API_URL=prefect_server) for home in (killed, straight)
    ]
    assert [r.returncode for r in results] == [0, 0], results[0].stderr[-2000:] + results[1].stderr[-2000:]
    result = json.loads(results[0].stdout.splitlines()[-1])
    assert result["counts"]["talks"] == {"ok": 5, "refused": 2}
    for name in ("pairs.parquet", "train.jsonl", "valid.jsonl", "test.jsonl", "split.json"):
        part = Path("data/talks/dataset") / name
        assert (killed / part).read_bytes() == (straight / part).read_bytes()
    assert not [name for name in files_under(killed) if name.endswith(".tmp") or ".partial" in name]


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*MAIN, "--preset", "tiny", "--home", str(tmp_path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not list(tmp_path.glob("models/bases/.*.partial")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "resumes from there" in errors


def test_a_second_run_on_the_same_channel_is_told_who_holds_it(tmp_path: Path) -> None:
    from understudy import locks

    with locks.held(tmp_path / "data" / "sample" / ".lock", "data/sample"):
        result = run("--preset", "tiny", "--home", str(tmp_path))
    assert result.returncode == 2 and f"process {os.getpid()}" in result.stderr


def test_a_chosen_server_that_is_silent_is_said_with_the_way_without_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        api = f"http://127.0.0.1:{deaf.getsockname()[1]}/api"
        process = started(tmp_path / "home", "--preset", "tiny", environment=clean(PREFECT_API_URL=api))
        assert process.wait() == 2
    output = output_of(tmp_path / "home")
    assert api in output and "nothing answers there (timed out)" in output and "unset PREFECT_API_URL" in output
    assert not list((tmp_path / "home").glob("data/*/documents"))


def test_a_whole_group_that_is_told_to_end_ends_soon_though_its_server_is_gone(tmp_path: Path) -> None:
    """As `timeout`, systemd and batch systems do it; Prefect alone would ask the dead server for minutes."""
    home = tmp_path / "home"
    process = started(home, "--preset", "tiny", *LEAN_FLAGS, environment=clean())
    end = time.monotonic() + 240
    while "prepare base" not in output_of(home) and not list(home.glob("models/bases/.*.partial")):
        assert process.poll() is None and time.monotonic() < end, output_of(home)
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 130
    assert "Stopped. Finished work is kept" in output_of(home)


def test_a_value_that_is_no_yaml_is_one_sentence(tmp_path: Path) -> None:
    result = run("--set", "teacher={use: openai, model: x", "--home", str(tmp_path / "home"))
    assert result.returncode == 2 and "is a bracket or a quote missing?" in result.stderr
    assert "Traceback" not in result.stderr
