"""Talks in, train, valid and test out."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

from prefect import flow
from prefect.futures import PrefectFuture, wait
from prefect.utilities.annotations import quote
from understudy.tasks import limits, live, policies, publish
from understudy.tasks import talks as reading
from understudy.tasks.entry import run_name
from understudy.tasks.policies import TALKS_PER_WORKER

from understudy import locks
from understudy.channel.talks import PASSES, Pass
from understudy.dataset import fitness
from understudy.dataset.few import warning
from understudy.errors import DatasetError, TeacherStopped
from understudy.graph import Graph
from understudy.progress import track
from understudy.records import AssetRef, DatasetRefs, Entry, Talk
from understudy.runs import teachers
from understudy.sources import sections
from understudy.stages import augment, verify, write_format
from understudy.workspace import Workspace

log = logging.getLogger("understudy.talks")


@flow(name="build-dataset", flow_run_name=run_name, persist_result=False)
def build_dataset(workspace: Workspace) -> DatasetRefs:
    """collect > extract questions > generate answers, talk by talk; then gate, split and describe the channel."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        limits.ensure()
        entries = reading.list_talks(workspace)
        if few := warning(len(entries)):
            log.warning("%s", few)
        try:
            return _dataset(workspace, entries)
        finally:
            teachers.dismiss(workspace)


def _dataset(workspace: Workspace, entries: list[Entry]) -> DatasetRefs:
    due = reading.due(workspace, entries)
    if workspace.config.sources and due:
        _read_as_far_as(workspace, due, "document")
        entries = reading.without_same_talks(workspace, entries)
        due = reading.due(workspace, entries)
    if due and workspace.config.closed_book:
        for sentence in fitness.warnings(sections.texts(workspace.folder)):
            log.warning("%s", sentence)
    _read(workspace, due)
    graph, talks = _gated(workspace, entries)
    while more := reading.further(graph, talks):
        if not _ask_further(workspace, [entry for entry in entries if entry.document_id in more], more):
            break
        graph, talks = _gated(workspace, entries)
        due = entries
    else:
        reading.report_target(graph)
    graph.get("split")
    if workspace.config.closed_book:  # contradictions come with it
        graph.get("gold")
    if workspace.config.augment.on:
        graph.get("augmented", augment.inputs(graph))
    graph.get("description")
    for name in workspace.config.formats:
        graph.get("format", format=name)
    write_format.warn_of_stale_formats(workspace)
    if due:  # it looks at every talk
        publish.costs(workspace, talks)
    return publish.dataset(graph)


def _gated(workspace: Workspace, entries: list[Entry]) -> tuple[Graph, list[Talk]]:
    """The talks that are read, and all their pairs with the verdicts of gates and verifier."""
    talks = reading.ready(workspace, entries)
    if not talks:
        raise DatasetError("no talk could be used; the ledger and the warnings above say why")
    graph = Graph(workspace, policies.materialize, _refs(talks))
    if workspace.config.verify.on:
        _verify(graph, talks)
    graph.get("pairs")
    return graph, talks


def _ask_further(workspace: Workspace, entries: list[Entry], more: Mapping[str, int]) -> bool:
    """Ask talks further questions; False when the teacher answers no more, and what is there must do."""
    teacher = policies.shared_teacher(workspace)
    with (
        nullcontext() if teacher.deterministic else limits.slot("teacher"),
        policies.local_runner(workspace.config.runner) as threads,
    ):
        futures = [
            threads.submit(reading.extend, {"workspace": workspace, "entry": entry, "extra": more[entry.document_id]})
            for entry in entries
        ]
        try:
            _wait([[future] for future in futures], "ask further questions")
        except TeacherStopped as error:
            log.warning("no further questions: %s", error)
            return False
    return True


def _verify(graph: Graph, talks: list[Talk]) -> None:
    """Have a second model look at what the gates kept, talk by talk."""
    workspace, gated = graph.workspace, graph.get("gated")
    due = [talk for talk in talks if verify.verified(workspace, gated, talk) is None]
    with policies.local_runner(workspace.config.runner) as threads:
        futures = [
            threads.submit(reading.verify_talks, {"workspace": workspace, "gated": gated, "talks": quote(batch)})
            for batch in policies.batches(due)
        ]
        _wait([[future] for future in futures], "verify")
    verdicts = {f"verified/{talk.document_id}": verify.verified(workspace, gated, talk) for talk in talks}
    graph.known |= {name: ref for name, ref in verdicts.items() if ref}


def _refs(talks: list[Talk]) -> Mapping[str, AssetRef]:
    names = ("document", "questions", "answers")
    return {f"{name}/{talk.document_id}": getattr(talk, name) for name in names for talk in talks}


def _read(workspace: Workspace, due: list[Entry]) -> None:
    """Both passes over every talk that is due; a talk is read to its end before another is begun."""
    if not due:
        return
    teacher = policies.shared_teacher(workspace)
    with nullcontext() if teacher.deterministic else limits.slot("teacher"):
        if teacher.batches:
            _read_in_batches(workspace, due)
        elif workspace.config.runner.use == "dask":
            _read_on_workers(workspace, due, "answers")
        else:
            _wait([_chain(workspace, batch) for batch in policies.batches(due)], "read talks")


def _read_in_batches(workspace: Workspace, due: list[Entry]) -> None:
    """Pass after pass, for a teacher that is cheaper when it may answer a whole pass at once."""
    for until in PASSES:
        if until != "document":
            reading.submit_batch(workspace, due, until)
        _read_as_far_as(workspace, due, until)


def _read_as_far_as(workspace: Workspace, due: list[Entry], until: Pass) -> None:
    """One pass over every talk that is due."""
    if workspace.config.runner.use == "dask":
        _read_on_workers(workspace, due, until)
    else:
        chains = [[reading.read_talks.submit(workspace, batch, until)] for batch in policies.batches(due)]
        _wait(chains, "fetch talks" if until == "document" else until)


def _read_on_workers(workspace: Workspace, due: list[Entry], until: Pass) -> None:
    """Talks read by the workers of a cluster, which return what they made: only the flow writes it."""
    batches = list(policies.batches(due, TALKS_PER_WORKER))
    loaded = (reading.load_batch(workspace, entries) for entries in batches)
    futures = [reading.read_on_worker.submit(workspace, batch, until) for batch in loaded]
    stopped = None
    with track("read talks") as progress:
        for done, future in enumerate(futures, 1):
            future.wait()
            if future.state.is_completed():
                batch = future.result()
                for talk in batch.talks:
                    reading.save(workspace, talk)
                stopped = stopped or batch.stopped
            progress(done, len(futures))
    policies.raise_first_failure(futures)
    policies.raise_lost(futures, [[entry.document_id for entry in batch] for batch in batches])
    if stopped:
        raise TeacherStopped(stopped)


def _wait(chains: list[list[PrefectFuture[Any]]], stage: str) -> None:
    with live.span(stage), track(stage) as progress:
        for done, chain in enumerate(chains, 1):
            wait(chain)
            progress(done, len(chains))
    policies.raise_first_failure(future for chain in chains for future in chain)


def _chain(workspace: Workspace, batch: list[Entry]) -> list[PrefectFuture[Any]]:
    """The tasks of one talk, chained without barriers; one task for a batch of them."""
    if len(batch) > 1:
        return [reading.read_talks.submit(workspace, batch)]
    fetched = reading.collect.submit(workspace, batch[0])
    # Prefect waits for a future that is an argument, and hands on its result.
    questions = reading.extract_questions.submit(workspace, cast(Entry | None, fetched))
    return [fetched, questions, reading.generate_answers.submit(workspace, cast(Entry | None, questions))]
