"""No call is sent that could break the budget, and none is refused that may still fit, in however many processes."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.calls.test_call_ledger import REPLY, call
from understudy.calls.ledger import CallLedger
from understudy.errors import TeacherStopped

ROOT = Path(__file__).resolve().parents[3]
SPENDER = """
import random, sys
from pathlib import Path
from tests.unit.calls.test_call_ledger import REPLY, call
from understudy.calls.ledger import CallLedger
from understudy.errors import TeacherStopped

rng, ledger, name, in_flight = random.Random(sys.argv[2]), CallLedger(Path(sys.argv[1])), call(sys.argv[2]), []
while True:
    worst = rng.uniform(0.01, 0.1)
    try:
        attempt = ledger.reserve(name, worst, 1.0)
    except TeacherStopped:
        break
    if attempt is not None:
        in_flight.append((attempt, worst))
    elif in_flight:
        attempt, worst = in_flight.pop()
        ledger.keep(name, attempt, REPLY, worst * rng.random())
for attempt, worst in in_flight:
    ledger.keep(name, attempt, REPLY, worst)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> CallLedger:
    return CallLedger(tmp_path / "calls.sqlite")


def spend(ledger: CallLedger, usd: float) -> None:
    ledger.keep(call(), ledger.intend(call(), usd), REPLY, usd)


def test_a_call_waits_while_others_may_cost_less_than_reserved(ledger: CallLedger) -> None:
    spend(ledger, 0.2)
    attempt = ledger.reserve(call(), 0.5, 1.0)
    assert attempt and ledger.reserve(call("b"), 0.5, 1.0) is None
    ledger.keep(call(), attempt, REPLY, 0.1)
    assert ledger.reserve(call("b"), 0.5, 1.0)


def test_a_call_that_cannot_fit_stops_and_says_how_to_go_on(ledger: CallLedger) -> None:
    spend(ledger, 0.75)
    with pytest.raises(TeacherStopped, match=r"\$1\.00.*\$0\.7500 spent.*\$0\.5000.*--set teacher\.max_usd=2\.00"):
        ledger.reserve(call(), 0.5, 1.0)


def test_the_budget_is_never_broken_while_prices_keep_to_their_worst_case(tmp_path: Path) -> None:
    for seed in range(10):
        rng, ledger, in_flight = random.Random(seed), CallLedger(tmp_path / f"{seed}.sqlite"), []
        while True:
            worst = rng.uniform(0.01, 0.1)
            try:
                if attempt := ledger.reserve(call(), worst, 1.0):
                    in_flight.append((attempt, worst))
                    continue
            except TeacherStopped:
                break
            attempt, settled = in_flight.pop(rng.randrange(len(in_flight)))
            ledger.keep(call(), attempt, REPLY, settled * rng.random())
        for attempt, worst in in_flight:
            ledger.keep(call(), attempt, REPLY, worst)
        assert 0.8 < ledger.spent() <= 1.0 + 1e-9


def test_several_processes_together_keep_to_one_budget(ledger: CallLedger) -> None:
    command = [sys.executable, "-c", SPENDER, str(ledger.file)]
    processes = [subprocess.Popen([*command, name], cwd=ROOT) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert 0.8 < ledger.spent() <= 1.0 + 1e-9


def test_what_a_dead_process_reserved_is_waited_for_no_longer(ledger: CallLedger) -> None:
    program = SPENDER.split("rng,", maxsplit=1)[0] + "CallLedger(Path(sys.argv[1])).reserve(call('dead'), 0.6, 1.0)"
    subprocess.run([sys.executable, "-c", program, str(ledger.file)], cwd=ROOT, check=True)
    assert ledger.reserve(call(), 0.3, 1.0), "its worst case stays counted"
    with pytest.raises(TeacherStopped, match=r"\$0\.6000 spent"):
        ledger.reserve(call(), 0.5, 1.0)


def test_a_reservation_of_another_machine_ends_with_its_lease(
    ledger: CallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    monkeypatch.setattr("understudy.calls.ledger.LEASE_SECONDS", -1)
    late = ledger.reserve(call(), 0.6, 1.0)
    monkeypatch.undo()
    with pytest.raises(TeacherStopped, match=r"\$0\.6000 spent"):
        ledger.reserve(call("b"), 0.6, 1.0)
    assert late
    ledger.keep(call(), late, REPLY, 0.1)  # it was alive after all: the price replaces the worst case
    assert ledger.spent() == pytest.approx(0.1) and ledger.reserve(call("b"), 0.6, 1.0)


def test_without_a_limit_nothing_stops(ledger: CallLedger) -> None:
    assert ledger.reserve(call(), 1e9, None) and CallLedger(ledger.file.with_name("b")).reserve(call(), 0.0, 0.0)


def test_one_limit_for_several_models_counts_what_all_of_them_cost(ledger: CallLedger, tmp_path: Path) -> None:
    verifier = CallLedger(tmp_path / "verify.sqlite")
    spend(ledger, 0.4)
    verifier.share_budget("verify.max_usd", 1.0, [ledger])
    assert verifier.reserve(call(), 0.5, 5.0), "0.4 and 0.5 are below 1"
    with pytest.raises(TeacherStopped, match=r"\$1\.00.*\$0\.4000 spent.*--set max_usd=2\.00"):
        verifier.reserve(call("b"), 0.7, 5.0)
    with pytest.raises(TeacherStopped, match=r"--set verify\.max_usd="):
        verifier.reserve(call("c"), 0.2, 0.1)
