"""Laws of the doctor: every finding is one clear line, whatever this machine lacks."""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from understudy import worker
from understudy.cli import doctor
from understudy.cli.doctor import Check, Health

NOWHERE = "http://127.0.0.1:9"


class Answers(BaseHTTPRequestHandler):
    """Says yes to the addresses a Prefect server and Ollama have."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/api/health", "/api/version") else 404)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> Health:
    home = tmp_path_factory.mktemp("doctor") / "not" / "there"
    checks = doctor.examine(home, {"PREFECT_API_URL": f"{NOWHERE}/api", "OLLAMA_HOST": NOWHERE}, seconds=0.01)
    assert not home.exists()
    return checks


def check(health: Health, name: str) -> Check:
    return next(check for check in health.checks if check.name == name)


def test_it_says_what_trains_here_and_how_fast(health: Health) -> None:
    assert health.speed and health.speed.gflops > 0 and health.speed.step_gflops > 0
    assert "GFLOP/s" in check(health, "speed").text and check(health, "trains on")


def test_every_base_to_take_has_its_row(health: Health) -> None:
    page = doctor.as_text(health)
    assert len(health.bases) >= 10 and all(fit.base in page for fit in health.bases)
    assert all("Thinking" not in fit.base for fit in health.bases)
    assert "What 1,000 pairs take here" in page and "--base " in page.splitlines()[-1]


def test_every_finding_is_one_line(health: Health) -> None:
    assert all(check.text and "\n" not in check.text for check in health.checks)
    assert json.loads(json.dumps(asdict(health)))["checks"][0]["name"] == "python"


def test_a_server_that_does_not_answer_is_told_with_its_address(health: Health) -> None:
    line = check(health, "Prefect")
    assert line.state == "problem" and f"{NOWHERE}/api" in line.text and "make ui" in line.text


def test_servers_that_answer_are_found(server: str) -> None:
    assert doctor._prefect({"PREFECT_API_URL": f"{server}/api"})[0] == "ok"
    assert doctor._ollama({"OLLAMA_HOST": server.removeprefix("http://")})[0] == "ok"
    assert "404" in doctor._prefect({"PREFECT_API_URL": f"{server}/else"})[1]


@pytest.mark.parametrize("address", ["no address", "ftp://127.0.0.1/x", "http://[", "http://127.0.0.1:99999/api"])
def test_a_broken_address_is_one_line(address: str) -> None:
    line = doctor._check("Prefect", lambda: doctor._prefect({"PREFECT_API_URL": address}))
    assert line.state == "problem" and "\n" not in line.text


def test_no_server_is_no_problem() -> None:
    assert doctor._prefect({})[0] == "note"


def test_a_worker_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.sys, "executable", "/bin/false")
    checks = doctor.examine(tmp_path, {"OLLAMA_HOST": NOWHERE}, seconds=0.01)
    assert check(checks, "trains on").state == "problem" and "\n" not in check(checks, "trains on").text
    assert checks.bases == [] and doctor.as_text(checks)


def test_a_small_machine_is_told_what_does_not_fit(health: Health) -> None:
    assert health.speed
    small = doctor.Speed("metal", "a test", 1000, 1, 2_000_000_000, "a test")
    fits = [doctor.fit(base, small) for base in doctor.KNOWN]
    assert any(fit.row_tokens is None and "do not fit" in fit.text for fit in fits)
    assert not any(fit.row_tokens is None and fit.base in doctor.to_take(fits) for fit in fits)


def test_the_base_to_take_is_the_largest_of_a_night() -> None:
    slow, fast = (doctor.Speed("metal", "a test", 1000, g, 64 * 10**9, "a test") for g in (20, 20_000))
    small, large = ([doctor.fit(base, speed) for base in doctor.KNOWN] for speed in (slow, fast))
    taken = [next(fit for fit in fits if f"Take {fit.base}, " in doctor.to_take(fits)) for fits in (small, large)]
    assert taken[0].parameters < taken[1].parameters and all(fit.free for fit in taken)
    assert taken[1].parameters == max(fit.parameters for fit in large if fit.free and fit.hours <= doctor.NIGHT_HOURS)
    assert doctor.to_take([]).startswith("None of these bases fits")
