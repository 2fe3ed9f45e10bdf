"""The teacher's calls against the loopback server: time over the ideal, faults, limits, kills, caches, memory."""

import dataclasses
import heapq
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _estimate
from benchmarks.figures import Figure, peak_mb
from tests.fixtures.teacher_faults import MIXES, Plan
from tests.fixtures.teacher_words import answer_for, talk_of
from understudy.calls.ledger import CallLedger
from understudy.config import load
from understudy.interfaces import Teacher
from understudy.records import Answers, Document, Paragraph, Question, Questions
from understudy.registry import build
from understudy.sections import AnswerSettings, QuestionSettings
from understudy.stages import extract_questions, generate_answers

ROOT = Path(__file__).resolve().parents[1]
CALLS, NUMBERS, LATENCY, CONCURRENCY = 300, 5, 0.5, 20
TIMEOUT = 5.0
IDEAL = CALLS * LATENCY / CONCURRENCY


SYLLABLES = [f"{a}{b}" for a in "bdfgklmnprst" for b in "aeiou"]


def talk(at: int, words: int = 400) -> Document:
    """A talk of its own words."""
    paragraphs = [
        Paragraph(text=" ".join(_thing(at, 10_000 + 108 * n + i) for i in range(108)))
        for n in range(max(1, words // 108))
    ]
    return Document(document_id=f"t{at:05}", title=f"Talk {at}", locator=str(at), how="made", paragraphs=paragraphs)


def questions_about(document: Document, numbers: int = NUMBERS) -> Questions:
    """Questions to a talk, each about two things of its own, by which its answer is recognized."""
    at = int(document.document_id.strip("t"))
    texts = [f"How does the {_thing(at, 2 * n)} come before the {_thing(at, 2 * n + 1)}?" for n in range(numbers)]
    questions = [Question(question_number=n, question=text) for n, text in enumerate(texts, 1)]
    return Questions(document_id=document.document_id, teacher="t", questions=questions)


def _thing(at: int, number: int) -> str:
    """A made-up noun."""
    dice = random.Random(100_000 * at + number)
    return "".join(dice.choice(SYLLABLES) for _ in range(3))


class Server:
    """The loopback teacher in a process of its own."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "tests.fixtures.teacher_server", "--port", "0", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout
        self.url = self.process.stdout.readline().split()[-1].strip()

    def account(self) -> dict[str, Any]:
        """All its counters."""
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/control/account") as reply:
            return json.load(reply)

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def server(*words: str) -> Iterator[Server]:
    """A server for the block."""
    running = Server(*words)
    try:
        yield running
    finally:
        running.close()


def teacher(url: str, home: str, **options: Any) -> Teacher:
    """The plugin as a preset would build it, started."""
    settings = {"model": "gpt-5-mini", "base_url": url, "concurrency": CONCURRENCY, "max_usd": None} | options
    plugin: Teacher = build("teacher", "openai", settings)
    plugin.begin(Path(home))
    return plugin


def answered(plugin: Teacher, documents: list[Document], numbers: int = NUMBERS) -> tuple[float, int, int]:
    """Pass 2 over all documents at once: seconds, answers lost, answers that are not the server's own."""
    start = time.perf_counter()
    with ThreadPoolExecutor(3 * CONCURRENCY) as pool:
        done = list(
            pool.map(
                lambda d: generate_answers.answer(d, questions_about(d, numbers), plugin, AnswerSettings()), documents
            )
        )
    seconds = time.perf_counter() - start
    lost = wrong = 0
    for document, answers in zip(documents, done, strict=True):
        text = "\n".join(p.text for p in document.paragraphs)
        for question, answer in zip(questions_about(document, numbers).questions, answers.answers, strict=True):
            lost += answer.answer is None
            wrong += answer.answer is not None and answer.answer != answer_for(text, question.question).strip()
    return seconds, lost, wrong


class Ran(NamedTuple):
    """One run over all talks."""

    seconds: float
    floor: float
    lost: int
    wrong: int
    account: dict[str, Any]


def _run(plan: Plan, documents: list[Document], **options: Any) -> Ran:
    """Pass 2 over `documents` against a server that behaves as `plan` says."""
    fields = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan) if f.name != "clock"}
    changes = {name: value for name, value in fields.items() if value != getattr(Plan(), name)}
    timing = ("latency", "sigma", "seed")
    flags = [f"--{name}={value}" for name, value in changes.items() if name in timing]
    flags += [f"--set={name}={json.dumps(value)}" for name, value in changes.items() if name not in timing]
    with server(*flags) as running, tempfile.TemporaryDirectory() as home:
        plugin = teacher(running.url, home, first_token_seconds=TIMEOUT, idle_seconds=TIMEOUT, **options)
        seconds, lost, wrong = answered(plugin, documents)
        plugin.close()
        return Ran(seconds, floor(plan, documents, Path(home)), lost, wrong, running.account())


def floor(plan: Plan, documents: list[Document], home: Path) -> float:
    """Seconds of a schedule without any overhead: the same attempts, retries first, no backoff, no work of ours."""
    ledger = CallLedger(home / "calls.sqlite")
    rows = ledger.rows()
    ledger.close()
    calls_by_talk: dict[str, list[tuple[int, ...]]] = {}
    for row in rows:
        calls_by_talk.setdefault(row["document_id"], []).append(tuple(row["numbers"]))
    digests = {d.document_id: talk_of("\n\n".join(f"[{i}] {p.text}" for i, p in enumerate(d.paragraphs))).digest
               for d in documents}  # fmt: skip
    return _makespan([list(_attempts(plan, digests[d.document_id], calls_by_talk[d.document_id])) for d in documents])


def _attempts(plan: Plan, digest: str, numbers: list[tuple[int, ...]]) -> Iterator[tuple[float, float]]:
    """(seconds in a slot, seconds of waiting after it) of each attempt at one talk; a 429 is in no ledger."""
    count: dict[tuple[int, ...], int] = {}
    for asked_for in numbers:
        while True:
            draw = plan.draw(digest, asked_for, count.get(asked_for, 0))
            count[asked_for] = count.get(asked_for, 0) + 1
            if draw.fault != "rate_limited":
                break
            yield 0.0, plan.retry_after_seconds
        yield {"hang": TIMEOUT, "error_500": 0.0}.get(draw.fault, draw.seconds), 0.0


def _makespan(chains: list[list[tuple[float, float]]]) -> float:
    """When the last attempt ends, with CONCURRENCY slots and retries before fresh work."""
    ready = [(1, at, at, 0) for at in range(len(chains))]
    events: list[tuple[float, int, int, int]] = []  # time, 0 a slot is free again or 1 a wait is over, chain, attempt
    heapq.heapify(ready)
    free, now, order = CONCURRENCY, 0.0, len(chains)
    while ready or events:
        while ready and free:
            _, _, chain, at = heapq.heappop(ready)
            free -= 1
            heapq.heappush(events, (now + chains[chain][at][0], 0, chain, at))
        now, what, chain, at = heapq.heappop(events)
        if what == 0:
            free += 1
            if at + 1 < len(chains[chain]):
                heapq.heappush(events, (now + chains[chain][at][1], 1, chain, at + 1))
        else:
            order += 1
            heapq.heappush(ready, (0, order, chain, at))
    return now


def figures() -> Iterator[Figure]:
    """Every figure of the group; about eight minutes."""
    documents = [talk(at) for at in range(CALLS)]
    clean = [_run(Plan(latency=LATENCY), documents) for _ in range(5)]
    yield Figure("clean_over_ideal_median_of_5", statistics.median(run.seconds for run in clean) / IDEAL, "<=", 1.10)
    usd = clean[0].account["usd"]
    for name in ("faults", "nasty", "slips"):
        runs = [_run(Plan(latency=LATENCY, seed=seed, **MIXES[name]), documents) for seed in range(3)]
        yield Figure(f"{name}_over_floor_median_of_3", statistics.median(r.seconds / r.floor for r in runs), "<=", 1.10)
        yield Figure(f"{name}_lost", sum(r.lost for r in runs), "=", 0)
        yield Figure(f"{name}_on_the_wrong_question", sum(r.wrong for r in runs), "=", 0)
        yield Figure(f"{name}_usd_over_clean", statistics.median(r.account["usd"] for r in runs) / usd, "<=", 1.05)
    limited = _run(Plan(latency=LATENCY, requests_per_minute=180), documents)
    yield Figure("limit_of_180_a_minute_requests_over_needed", limited.account["requests"] / CALLS, "<=", 1.05)
    yield Figure("limit_of_180_a_minute_lost", limited.lost, "=", 0)
    yield Figure("limit_of_180_a_minute_seconds_over_40", limited.seconds / 40)
    ragged = [_run(Plan(latency=LATENCY, sigma=0.8, seed=seed), documents) for seed in range(3)]
    yield Figure("ragged_over_floor_median_of_3", statistics.median(r.seconds / r.floor for r in ragged), "<=", 1.10)
    yield from _estimate.figures()
    yield from _flow()
    yield from _caches()
    yield from _kills(documents)
    yield from _memory()


def _files(folder: Path, talks: int, words: int) -> Path:
    """Talks as text files."""
    for at in range(talks):
        (folder / f"{at:05}.txt").write_text("\n\n".join(p.text for p in talk(at, words).paragraphs))
    return folder


def _preset(folder: Path, url: str, **teacher: Any) -> dict[str, Any]:
    settings = {"use": "openai", "model": "gpt-5-mini", "base_url": url, "concurrency": CONCURRENCY, "max_usd": None}
    return {
        "name": "bench", "source": {"use": "documents", "path": str(folder)}, "teacher": settings | teacher,
        "questions.seconds_per_question": 1, "questions.at_most": NUMBERS, "runner.workers": 2 * CONCURRENCY,
        "gates": [{"use": "length", "min_words": 5}],
    }  # fmt: skip


def _flow() -> Iterator[Figure]:
    """The same number of calls through the whole flow: 150 talks, two passes each."""
    with tempfile.TemporaryDirectory() as home, server("--latency", str(LATENCY)) as running:
        folder = Path(home, "talks")
        folder.mkdir()
        preset = _preset(_files(folder, CALLS // 2, 400), running.url)
        program = "import sys; from benchmarks.teacher import flow_seconds as f; f(*sys.argv[1:])"
        command = [sys.executable, "-c", program, home, json.dumps(preset)]
        environment = os.environ | {"PREFECT_HOME": f"{home}/prefect"}
        for name in ("flow", "flow_again"):
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
            reading, whole = map(float, done.stdout.split()[-2:])
            if name == "flow":
                calls = running.account()["requests"]
                yield Figure("flow_calls", calls)
                yield Figure("flow_reading_over_ideal", reading / IDEAL, "<=", 1.35)
                yield Figure("flow_whole_over_ideal", whole / IDEAL)
            else:
                yield Figure("flow_again_calls", running.account()["requests"] - calls, "=", 0)


def flow_seconds(home: str, preset: str) -> None:
    """Print the seconds of reading the talks, and of the whole dataset flow in a started Prefect."""
    from prefect import flow
    from understudy.flows.build_dataset import build_dataset
    from understudy.tasks import policies

    from understudy import progress
    from understudy.workspace import Workspace

    @flow
    def nothing() -> None: ...

    seconds: list[float] = []

    class Clock(progress.Sink):
        def close(self, stage: str, took: float, failed: bool) -> None:
            if stage == "read talks":
                seconds.append(took)

    nothing()  # starts Prefect's server, which is not ours to measure
    progress.SINKS.append(Clock())
    config = load(ROOT / "deployments/presets/documents.yaml", json.loads(preset))
    workspace = Workspace(home=Path(home), config=config)
    start = time.perf_counter()
    build_dataset.with_options(task_runner=policies.runner(config.runner))(workspace)
    print(seconds[0] if seconds else 0.0, time.perf_counter() - start)


def _caches() -> Iterator[Figure]:
    """How much of pass 2 and of the repairs the server finds in its prefix cache, for talks of 2,500 words."""
    with server("--latency", "0.2", "--set", "missing=0.1") as running, tempfile.TemporaryDirectory() as home:
        plugin = teacher(running.url, home)
        documents = [talk(at, 2600) for at in range(40)]
        settings = QuestionSettings(at_most=15)

        def both(document: Document) -> None:
            questions = extract_questions.extract(document, plugin, settings)
            generate_answers.answer(document, questions, plugin, AnswerSettings())

        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(both, documents))
        plugin.close()
        kinds = running.account()["kinds"]
    yield Figure("pass_2_in_the_prefix_cache", kinds["second"]["cached_share"], ">=", 0.9)
    yield Figure("repairs_in_the_prefix_cache", kinds["repair"]["cached_share"], ">=", 0.9)


def _kills(documents: list[Document]) -> Iterator[Figure]:
    """Two kills, then to the end: how many calls were paid again; a talk added and a question changed."""
    with server("--latency", str(LATENCY)) as running, tempfile.TemporaryDirectory() as home:
        program = "import sys; from benchmarks.teacher import all_answered as a; a(sys.argv[1], sys.argv[2])"
        for calls in (60, 160):
            process = subprocess.Popen([sys.executable, "-c", program, running.url, home], cwd=ROOT)
            while running.account()["paid_calls"] < calls:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run([sys.executable, "-c", program, running.url, home], cwd=ROOT, check=True)
        yield Figure("paid_again_after_two_kills", running.account()["paid_again"], "<=", 2 * CONCURRENCY)
        before = running.account()["paid_calls"]
        plugin = teacher(running.url, home)
        answered(plugin, [*documents, talk(CALLS)])
        yield Figure("calls_when_one_talk_is_added", running.account()["paid_calls"] - before, "=", 1)
        plugin.close()


def all_answered(url: str, home: str) -> None:
    """Pass 2 over all talks, in a process that may be killed."""
    plugin = teacher(url, home)
    answered(plugin, [talk(at) for at in range(CALLS)])
    plugin.close()


def _memory() -> Iterator[Figure]:
    program = "import sys; from benchmarks.teacher import peak_of as p; print(p(sys.argv[1], int(sys.argv[2])))"
    with server("--set", "words=20") as running:
        few, many = (
            float(subprocess.run([sys.executable, "-c", program, running.url, str(talks)], capture_output=True,
                                 text=True, check=True, cwd=ROOT).stdout) for talks in (1, 1000)
        )  # fmt: skip
    yield Figure("memory_growth_mb_1000_talks_of_10000_words", many - few, "<=", 150)


def peak_of(url: str, talks: int) -> float:
    """The peak of a process that reads that many talks of 10,000 words with both passes' code loaded."""
    with tempfile.TemporaryDirectory() as home:
        plugin = teacher(url, home)
        with ThreadPoolExecutor(3 * CONCURRENCY) as pool:

            def answer(at: int) -> Answers:
                document = talk(at, 10_000)
                return generate_answers.answer(document, questions_about(document, 2), plugin, AnswerSettings())

            for _ in pool.map(answer, range(talks)):
                pass
        plugin.close()
        return peak_mb()
