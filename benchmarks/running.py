"""What running costs: our own time per talk, memory, what the server recorded, and two Dask workers against one.

Talks are stand-ins: generated texts and the extractive teacher. Sizes come from UNDERSTUDY_RUNNING_TALKS (10,000)
and UNDERSTUDY_RUNNING_DASK (2,000).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
TALKS = int(os.environ.get("UNDERSTUDY_RUNNING_TALKS", "10000"))
DASK_TALKS = int(os.environ.get("UNDERSTUDY_RUNNING_DASK", "2000"))
TALK_SECONDS = 0.2
STAGES = ("collect", "extract questions", "generate answers", "gate")  # of every talk
WORDS = "heat water light stone river metal glass copper candle bridge engine winter garden signal planet".split()

RUN = """
import collections, json, logging, os, sys, time
from pathlib import Path
from benchmarks.figures import peak_mb
from understudy.flows.pipeline import pipeline
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from understudy.config import load

class Finished(logging.Handler):
    ended = {}  # every task run whose end was logged here: the server must know it

    def emit(self, record):
        if hasattr(record, "task_run_id") and record.msg.startswith("Finished in state"):
            self.ended[record.task_run_id] = record.task_name

def known(client):
    ids, runs = list(Finished.ended), []
    for at in range(0, len(ids), 200):
        some = TaskRunFilter(id=TaskRunFilterId(any_=ids[at:at + 200]))
        runs += client.read_task_runs(task_run_filter=some, limit=200)
    return sum(run.state.is_completed() for run in runs)

home, talks = Path(sys.argv[1]), sys.argv[2]
changes = {"name": "bench", "source": {"use": "documents", "path": talks}, "gates": [{"use": "length"}],
           "teacher": {"use": "extractive"}, "runner": {"use": "threads", "workers": 4}, "questions.at_most": 1}
config = load(Path("deployments/presets/documents.yaml"), changes)
with get_client(sync_client=True) as client:
    client.hello()  # the server's own start is not ours
    logging.getLogger("prefect.task_runs").addHandler(Finished())
    began = time.perf_counter()
    pipeline(config=config, home=home, only="dataset")
    seconds, until = time.perf_counter() - began, time.monotonic() + 60
    while (recorded := known(client)) < len(Finished.ended) and time.monotonic() < until:
        time.sleep(0.5)
counts = collections.Counter(Finished.ended.values())
print(counts, file=sys.stderr)
print(json.dumps([seconds, peak_mb(), len(Finished.ended), recorded]))
"""

STAND_IN = """
import sys, time
from prefect import flow, task
from understudy.tasks import cluster, policies
from understudy.channel.talks import ReadBatch, ReadTalk
from understudy.records import Document, Entry, Paragraph
from understudy.sections import RunnerSettings

TEXT = "word " * 1000  # with five paragraphs a talk of 33 minutes

@task(persist_result=False)
def read(seconds, batch):
    talks = []
    for talk in batch.talks:
        time.sleep(seconds)
        paragraphs = [Paragraph(text=TEXT) for _ in range(5)]
        facts = talk.entry.model_dump(include={"document_id", "title", "locator"})
        talks.append(talk._replace(document=Document(**facts, how="stand-in", paragraphs=paragraphs)))
    return ReadBatch(talks)

@flow
def stand_in(count, seconds):
    talks = [ReadTalk(Entry(document_id=str(n), title="t", locator="l", revision="1")) for n in range(count)]
    due = policies.batches(talks, policies.TALKS_PER_WORKER)
    futures = [read.submit(seconds, ReadBatch(batch)) for batch in due]
    return sum(talk.has("document") for future in futures for talk in future.result().talks)

if __name__ == "__main__":
    processes, talks, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    runner = cluster.runner(RunnerSettings(use="dask", processes=processes, workers=4))
    began = time.perf_counter()
    assert stand_in.with_options(task_runner=runner)(talks, seconds) == talks
    print(time.perf_counter() - began)
"""


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about eight minutes at full size."""
    with tempfile.TemporaryDirectory(prefix="understudy-running-") as folder:
        os.environ["PREFECT_HOME"] = f"{folder}/prefect"
        yield from _overhead(Path(folder))
        if find_spec("prefect_dask") and find_spec("distributed"):
            yield from _dask(Path(folder))
        else:
            print("The figures of two Dask workers need an extra that is not installed: make scale", file=sys.stderr)


def _overhead(folder: Path) -> Iterator[Figure]:
    """A tenth of the talks first: what one talk costs must not grow with their number."""
    few = _run(folder / "few", _talks(folder / "talks-few", TALKS // 10))
    talks = _talks(folder / "talks", TALKS)
    many = _run(folder / "home", talks)
    yield Figure("talks", TALKS)
    # The stand-in teacher's own work is in it: what is required is less than this.
    yield Figure("milliseconds_per_talk_and_stage", 1000 * many[0] / TALKS / len(STAGES), "<=", 5)
    yield Figure("milliseconds_per_talk_of_a_tenth", 1000 * few[0] / (TALKS // 10))
    yield Figure("milliseconds_per_talk_more", 1000 * (many[0] - few[0]) / (TALKS - TALKS // 10))
    yield Figure("growth_per_talk", (many[0] / TALKS) / (few[0] / (TALKS // 10)), "<=", 1.2)
    yield Figure("flow_process_peak_mb", many[1], "<=", 600)
    yield Figure("task_runs", many[2])
    yield Figure("task_runs_not_recorded", many[2] - many[3], "=", 0)
    (Path(talks) / "one-more.txt").write_text(_text(TALKS))
    again = _run(folder / "home", talks)
    yield Figure("second_run_with_one_new_seconds", again[0], "<=", 20)


def _dask(folder: Path) -> Iterator[Figure]:
    """Stand-in tasks that wait and return documents, so that the ratio is the runner's and the transport's."""
    program = folder / "stand_in.py"
    program.write_text(STAND_IN)
    seconds = [
        float(_python(str(program), str(count), str(DASK_TALKS), str(TALK_SECONDS)).splitlines()[-1])
        for count in (1, 2)
    ]
    yield Figure("dask_one_worker_seconds", seconds[0])
    yield Figure("dask_two_workers_times_as_fast", seconds[0] / seconds[1], ">=", 1.8)


def _run(home: Path, talks: str) -> list[float]:
    import json

    program = home.with_suffix(".py")
    program.write_text(RUN)
    began = time.perf_counter()
    results: list[float] = json.loads(_python(str(program), str(home), talks).splitlines()[-1])
    return [*results, time.perf_counter() - began]


def _python(*arguments: str) -> str:
    known = {"PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "INFO"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | known, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return done.stdout


def _talks(folder: Path, count: int) -> str:
    folder.mkdir()
    for number in range(count):
        (folder / f"talk-{number:05}.txt").write_text(_text(number))
    return str(folder)


def _text(number: int) -> str:
    """About 120 words that no other talk has in this order."""
    first, second = WORDS[number % len(WORDS)], WORDS[(number // len(WORDS)) % len(WORDS)]
    sentences = [f"Number {number} is about {first} and {second}."]
    sentences += [f"The {WORDS[(number * 7 + i) % len(WORDS)]} of case {number * 31 + i} changes the {second}."
             for i in range(12)]  # fmt: skip
    return " ".join(sentences) + "\n"
