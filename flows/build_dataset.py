"""Talks in, train, valid and test out."""

from prefect import flow
from prefect.futures import wait
from prefect.utilities.annotations import quote

from tasks import dataset, policies, publish
from understudy import locks
from understudy.errors import DatasetError
from understudy.progress import track
from understudy.records import DatasetRefs, Entry
from understudy.workspace import Workspace


@flow(name="build-dataset", flow_run_name="dataset-{workspace.config.name}", persist_result=False)
def build_dataset(workspace: Workspace) -> DatasetRefs:
    """collect > extract questions > generate answers, talk by talk; then gate and split the channel."""
    with locks.held(workspace.lock, f"data/{workspace.config.name}"):
        entries = dataset.list_talks(workspace)
        try:
            _read(workspace, dataset.due(workspace, entries))
        finally:
            policies.dismiss_teacher(workspace)
        talks = dataset.ready(workspace, entries)
        if not talks:
            raise DatasetError("no talk could be used; the ledger and the warnings above say why")
        inputs = [ref for talk in talks for ref in (talk.document, talk.questions, talk.answers)]
        pairs = policies.made(dataset.gate, "pairs", workspace, inputs, talks=quote(talks))
        split = policies.made(dataset.split, "split", workspace, [pairs], pairs=pairs)
        return publish.dataset(workspace, pairs, split)


def _read(workspace: Workspace, due: list[Entry]) -> None:
    """Both passes over every talk that is due, chained per talk without barriers."""
    chains = []
    for batch in policies.batches(due):
        fetched = dataset.collect.submit(workspace, batch)
        asked = dataset.extract_questions.submit(workspace, fetched)
        chains.append((fetched, asked, dataset.generate_answers.submit(workspace, asked)))
    with track("read talks") as report:
        for done, chain in enumerate(chains, 1):
            wait(list(chain))
            report(done, len(chains))
    policies.raise_first_failure(future for chain in chains for future in chain)
