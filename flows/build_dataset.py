"""Talks in, train, valid and test out."""

from contextlib import nullcontext
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, wait
from prefect.utilities.annotations import quote
from understudy.tasks import dataset, limits, model, policies, publish
from understudy.tasks import talks as reading
from understudy.tasks.policies import TALKS_PER_WORKER

from understudy import locks
from understudy.channel.talks import PASSES, Pass
from understudy.errors import DatasetError, TeacherStopped
from understudy.progress import track
from understudy.records import AssetRef, DatasetRefs, Entry, Talk
from understudy.workspace import Workspace


@flow(name="build-dataset", flow_run_name="dataset-{workspace.config.name}", persist_result=False)
def build_dataset(workspace: Workspace) -> DatasetRefs:
    """collect > extract questions > generate answers, talk by talk; then gate and split the channel."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        limits.ensure()
        entries = reading.list_talks(workspace)
        try:
            return _dataset(workspace, entries)
        finally:
            policies.dismiss_teachers(workspace)


def _dataset(workspace: Workspace, entries: list[Entry]) -> DatasetRefs:
    due = reading.due(workspace, entries)
    _read(workspace, due)
    talks = reading.ready(workspace, entries)
    if not talks:
        raise DatasetError("no talk could be used; the ledger and the warnings above say why")
    pairs = _pairs(workspace, talks)
    split = policies.made(dataset.split, "split", workspace, [pairs], pairs=pairs)
    told = {"pairs": pairs, "split": split, "talks": quote(talks)}
    if workspace.config.augment.on:
        base = [model.base(workspace, pairs, split)] if workspace.config.augment.replay else []
        inputs = [pairs, split, *(talk.document for talk in talks), *base]
        policies.made(dataset.augment, "augmented", workspace, inputs, base=base, **told)
    about = policies.made(dataset.describe, "description", workspace, [pairs, split], **told)
    for name in workspace.config.formats:
        keys = {"format": name}
        policies.made(dataset.write_format, "format", workspace, [pairs, split, about], keys=keys, **told)
    dataset.tell_of_old_formats(workspace)
    if due:  # it looks at every talk
        publish.costs(workspace, talks)
    return publish.dataset(workspace, about)


def _pairs(workspace: Workspace, talks: list[Talk]) -> AssetRef:
    """gate, then verify where a second model is to look at what the gates kept."""
    inputs = [ref for talk in talks for ref in (talk.document, talk.questions, talk.answers)]
    decided, verify = dataset.decided(workspace), workspace.config.verify
    asset = "pairs" if verify.use == "none" else "judged"
    judged = policies.made(dataset.gate, asset, workspace, inputs, decided, talks=quote(talks), name=asset)
    if asset == "pairs":
        return judged
    batches = policies.batches(dataset.to_verify(workspace, judged, talks))
    with policies.local_runner(workspace.config.runner) as threads:
        futures = [
            threads.submit(dataset.verify, {"workspace": workspace, "judged": judged, "talks": quote(batch)})
            for batch in batches
        ]
        _wait([[future] for future in futures], "verify")
    verified = dataset.verified(workspace, judged, talks)
    extra = [decided, verify.only_approved]
    return policies.made(
        dataset.accept, "pairs", workspace, [judged, *verified], extra, judged=judged, verified=quote(verified)
    )


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
        if workspace.config.runner.use == "dask":
            _read_on_workers(workspace, due, until)
        else:
            _wait([[reading.read_talks.submit(workspace, batch, until)] for batch in policies.batches(due)], until)


def _read_on_workers(workspace: Workspace, due: list[Entry], until: Pass) -> None:
    """Talks read by the workers of a cluster, which return what they made: only the flow writes it."""
    batches = (reading.load_batch(workspace, entries) for entries in policies.batches(due, TALKS_PER_WORKER))
    futures = [reading.read_on_worker.submit(workspace, batch, until) for batch in batches]
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
    if stopped:
        raise TeacherStopped(stopped)


def _wait(chains: list[list[PrefectFuture[Any]]], stage: str) -> None:
    with track(stage) as progress:
        for done, chain in enumerate(chains, 1):
            wait(chain)
            progress(done, len(chains))
    policies.raise_first_failure(future for chain in chains for future in chain)


def _chain(workspace: Workspace, batch: list[Entry]) -> list[PrefectFuture[Any]]:
    """The tasks of one talk, chained without barriers; one task for a batch of them."""
    if len(batch) > 1:
        return [reading.read_talks.submit(workspace, batch)]
    fetched = reading.collect.submit(workspace, batch[0])
    asked = reading.extract_questions.submit(workspace, fetched)
    return [fetched, asked, reading.generate_answers.submit(workspace, asked)]
