"""Whoever watches sees counts and the time left, and never pays for it."""

import logging

import pytest

from understudy import progress


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "understudy")
    return caplog


def test_a_long_stage_tells_counts_and_the_time_left(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    sink = progress.LogSink(every_seconds=10)
    for done in range(5):
        now[0] = done * 4.0
        sink.update("train", done, 10, "loss 2.1")
    sink.close("train", 16.0, failed=False)
    assert [r.message for r in lines.records] == ["train: 3 of 10, about 28 s left (loss 2.1)", "train: done in 16 s"]


def test_a_short_stage_says_nothing(lines: pytest.LogCaptureFixture) -> None:
    sink = progress.LogSink()
    sink.update("gate", 1, 2, "")
    sink.close("gate", 0.5, failed=False)
    assert not lines.records


def test_every_sink_hears_of_the_end_also_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, bool]] = []

    class Ear:
        def update(self, stage: str, done: int, total: int, note: str) -> None:
            events.append((f"{stage} {done}/{total} {note}", False))

        def close(self, stage: str, seconds: float, failed: bool) -> None:
            events.append((stage, failed))

    monkeypatch.setattr(progress, "SINKS", [Ear()])
    with pytest.raises(ValueError), progress.track("x") as move:
        move(1, 2, "n")
        raise ValueError
    assert events == [("x 1/2 n", False), ("x", True)]
