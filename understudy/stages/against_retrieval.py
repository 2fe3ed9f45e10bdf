"""What a model by heart is held against: the retriever's passages for the held-out questions, and prices."""

import time

from understudy.errors import AssetError
from understudy.graph import Node
from understudy.interfaces import Recipe
from understudy.records import AdapterCard, AssetRef
from understudy.retrieval.index import Index
from understudy.runs import teachers
from understudy.scoring import arms
from understudy.workspace import Workspace


def passages(workspace: Workspace) -> AssetRef:
    """The index of the channel, as the dataset stage cut it. Raises AssetError when there is none."""
    ref = workspace.latest("passages")
    if ref is None:
        raise AssetError("the channel has no passages to compare with; make the dataset first: --only dataset")
    return ref


def search(node: Node) -> arms.Search | None:
    """The retriever's passages for the held-out questions, where answers by heart are held against it."""
    recipe: Recipe = node.config.plugin("recipe")
    if not node.config.against_retrieval:
        return None
    index, count = Index(node.workspace.rows(passages(node.workspace))), recipe.options.per_question
    start, hits = time.perf_counter(), dict[str, bool]()
    asked = [pair for pair, _ in node.held_out()]
    found = [{hit.passage.document_id for hit in index.search(pair.question, count)} for pair in asked]
    seconds = (time.perf_counter() - start) / max(1, len(asked))
    for pair, documents in zip(asked, found, strict=True):
        hits[pair.pair_id] = documents >= {source.document_id for source in pair.sources}
    return arms.Search(len(index.passages), count, hits, round(seconds, 5))


def costs(node: Node) -> arms.Costs:
    """What is known of prices, and what it cost to come here."""
    machine, api = node.config.machine, node.config.evaluate.api
    adapter: AdapterCard = node.read("adapter")
    hours = (adapter.rented_seconds or adapter.seconds) / 3600
    training = None
    if machine.usd_per_hour is not None:
        training = hours * machine.usd_per_hour
    elif machine.watts is not None and machine.usd_per_kwh is not None:
        training = hours * machine.watts / 1000 * machine.usd_per_kwh
    paid = sum(total.usd for total in teachers.paid(node.workspace))
    return arms.Costs(
        input_usd=api.input if api else None,
        output_usd=api.output if api else None,
        watts=machine.watts,
        usd_per_kwh=machine.usd_per_kwh,
        usd_per_hour=machine.usd_per_hour,
        setup_usd=None if training is None else paid + training,
    )
