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


def test_what_came_before_the_first_count_is_not_part_of_the_pace(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    sink = progress.LogSink(every_seconds=10)
    sink.update("train", 0, 100, "first look")
    for at, done in ((40.0, 50), (51.0, 51), (62.0, 61)):  # it resumes from 50
        now[0] = at
        sink.update("train", done, 100, "")
    assert [r.message for r in lines.records] == [
        "train: 50 of 100",
        "train: 51 of 100, about 9 min left",
        "train: 61 of 100, about 78 s left",
    ]


def test_work_that_counts_nothing_is_still_heard_of(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    sink = progress.LogSink(every_seconds=8, first="starting Prefect")

    def seconds(count: int) -> None:
        for _ in range(count):
            now[0] += 1
            sink.beat()

    seconds(9)
    sink.open("train")
    seconds(8)
    sink.update("train", 0, 10, "first look at valid")
    seconds(9)
    sink.shown()  # a line of somebody else
    seconds(7)
    sink.close("train", 33, failed=False)
    seconds(8)
    assert [r.message for r in lines.records] == [
        "starting Prefect: still working after 8 s",
        "train: still working after 7 s",
        "train: 0 of 10 (first look at valid)",
        "train: 0 of 10 (first look at valid), still working after 16 s",
        "train: done in 33 s",
        "preparing what comes next: still working after 8 s",
    ]


def test_what_a_person_stops_has_not_failed(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = progress.threading.Event()
    monkeypatch.setattr(progress, "STOPPING", stopping)
    sink = progress.LogSink()
    sink.close("fuse", 3, failed=True)
    stopping.set()
    sink.close("train", 3, failed=True)
    assert [r.message for r in lines.records] == ["fuse: not done, ended after 3 s", "train: stopped after 3 s"]


def test_a_short_stage_says_nothing(lines: pytest.LogCaptureFixture) -> None:
    sink = progress.LogSink()
    sink.update("gate", 1, 2, "")
    sink.close("gate", 0.5, failed=False)
    assert not lines.records


def test_every_sink_hears_of_the_end_also_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, bool]] = []

    class Ear:
        def open(self, stage: str) -> None:
            pass

        def update(self, stage: str, done: int, total: int, note: str) -> None:
            events.append((f"{stage} {done}/{total} {note}", False))

        def close(self, stage: str, seconds: float, failed: bool) -> None:
            events.append((stage, failed))

    monkeypatch.setattr(progress, "SINKS", [Ear()])
    with pytest.raises(ValueError), progress.track("x") as move:
        move(1, 2, "n")
        raise ValueError
    assert events == [("x 1/2 n", False), ("x", True)]
